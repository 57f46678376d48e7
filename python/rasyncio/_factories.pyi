from .tasks import create_eager_task_factory as create_eager_task_factory
from .tasks import eager_task_factory as eager_task_factory
