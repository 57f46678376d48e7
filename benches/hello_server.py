"""A web server that says hello, on one implementation: `hello_server.py IMPLEMENTATION FRAMEWORK`, for servers.py.

For rasyncio it is started as `python -m rasyncio hello_server.py rasyncio FRAMEWORK`.  It prints its address, and serves until
it is killed.
"""

import asyncio
import importlib
import sys

BODY = b"Hello, world!"
# The modules whose new_event_loop() is used; of the others nothing is asked but what asyncio does by itself.
FACTORIES = {"uvloop": "uvloop", "rasyncio-loop": "rasyncio"}


def tell(listener):
    print("{}:{}".format(*listener.getsockname()), flush=True)


def run_aiohttp(implementation):
    from aiohttp import web

    async def hello(request):
        return web.Response(body=BODY, content_type="text/plain")

    async def serve():
        application = web.Application()
        application.router.add_get("/", hello)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        tell(site._server.sockets[0])
        await asyncio.Event().wait()

    module = FACTORIES.get(implementation)
    factory = importlib.import_module(module).new_event_loop if module else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve())


def run_uvicorn(implementation):
    import uvicorn

    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())]

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})

    module = FACTORIES.get(implementation)
    options = {
        "host": "127.0.0.1",
        "port": 0,
        "backlog": 1024,
        "lifespan": "off",
        "http": "httptools",
        "ws": "none",
        "access_log": False,
        "log_level": "warning",
    }
    config = uvicorn.Config(application, loop=f"{module}:new_event_loop" if module else "asyncio", **options)

    class Server(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            tell(self.servers[0].sockets[0])

    Server(config).run()


def main():
    implementation, framework = sys.argv[1:]
    if (implementation == "rasyncio") != (asyncio.__name__ == "rasyncio"):
        raise SystemExit("rasyncio is to be in asyncio's place for the implementation of its name, and for no other")
    {"aiohttp": run_aiohttp, "uvicorn": run_uvicorn}[framework](implementation)


if __name__ == "__main__":
    main()
