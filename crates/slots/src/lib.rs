//! The floor between CPython's type slots and the rooms of asyncio.
//!
//! Knows CPython, PyO3 and nothing of asyncio. Everything unsafe that rasyncio needs from CPython is in this crate; what
//! it exports is safe.
//!
//! | module | what |
//! |---|---|
//! | `own` | owned references as fields, and what the collector sees of them |
//! | `class` | native classes: layout, birth, free lists, collection, finalizers, death |
//! | `spec` | their methods, attributes and slots |
//! | `args` | argument parsing with CPython's texts |
//! | `bytes` | memory that the kernel writes and Python code reads |
//! | `objects` | making Python objects, without a panic where there is no memory |
//! | `door` | the one place where CPython enters Rust: errors and panics become exceptions |
//! | `forced_unwind` | no drop runs where a thread is ended in the middle of Rust frames |
//! | `send` | resuming awaitables, and being resumed |
//! | `stop` | the exception that carries a result to `await` |
//! | `depth` | RecursionError before the C stack ends |
//! | `coroutine` | coroutines out of Rust `async` blocks |
//! | `context` | entering `contextvars` contexts |
//! | `registry` | weak lists of native objects |
//! | `thread` | one object per thread, such as a running loop |
//! | `frames` | the frame of Python code that runs |
//! | `function` | Python functions whose quick cases are answered natively |
//! | `kind` | questions to type objects |
//! | `interpreter` | the main interpreter, the only one that may have native classes |
//! | `modules` | modules by name, also while the interpreter ends |
//! | `audit` | events for `sys.addaudithook` |
//! | `raise` | raising with the context that a traceback shows |
//! | `socket` | what a native object has at its front: whether a socket still has its descriptor |
//! | `tls` | the keys of a connection that `_ssl` holds, used without a call of it |

mod args;
mod audit;
mod bytes;
mod class;
mod context;
mod coroutine;
mod depth;
mod door;
mod forced_unwind;
mod frames;
mod function;
mod interpreter;
mod kind;
mod modules;
mod objects;
mod own;
mod raise;
mod registry;
mod send;
mod sight;
mod socket;
mod spec;
#[cfg(Py_3_12)]
mod stop;
mod thread;
mod tls;

pub use args::{Args, Param, Parsed, Signature, arg, kw, kw_opt, opt, pos, pos_opt};
pub use audit::audit;
pub use bytes::{Filling, Shown, Spare, filled, filled_both, lent, written_into};
pub use class::{BaseOf, Class, Native, Ref, TypeCell, add_class, is_of, type_of};
pub use context::{copy_current, enter as enter_context, is_context};
pub use coroutine::{Co, Coroutine, Kept, coroutine};
pub use depth::{is_stack_small, on_a_large_stack, recursion};
pub use door::{Stay, caught, quiet_panics, stay};
pub use forced_unwind::guard as guard_ended_threads;
pub use frames::{current_frame, recursion_limit};
pub use function::divert;
pub use interpreter::main_only;
pub use kind::{VERSION, Version, is_exact_coroutine, is_generator, recursive_repr};
pub use modules::{Modules, Namespace, without};
pub use objects::{
    Interned, Name, Text, bytes, dict, float, int, interned, items, list, list_of, text, tuple, unsigned,
};
pub use own::{Link, Own, Plain, Slot, Visit, Visitor};
pub use raise::{
    display_handled, excepting, handling, raise, raised_from, raised_from_none, resource_warning, write_stderr,
};
pub use registry::{Registration, Registry};
pub use send::{Input, Sent, awaitable_iterator, generator_exit, pass_on, send, settled, throw_into, thrown};
pub use socket::{front_number, front_numbers};
pub use spec::{Answer, Spec, add_function};
pub use thread::{ThreadSlot, thread_ident};
pub use tls::{Channel, Ended, Octets};
