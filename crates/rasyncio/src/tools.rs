//! tools: the tasks of another process as a tree or a table (asyncio.tools, 3.14; here on every Python).
//!
//! Called by users and by `python -m rasyncio ps`; has a process that runs rasyncio asked for its tasks (`_ps` in the package),
//! and looks into others by `_remote_debugging`, which CPython has from 3.14 on and which finds the tasks of the standard
//! library's asyncio. What comes of it is read by name:
//!
//! - per thread: `thread_id` and its tasks (`awaited_by`);
//! - per task: `task_id`, `task_name`, `coroutine_stack`, `awaited_by`;
//! - per stack: `call_stack`, and in `task_name` the id of the task whose stack it is;
//! - per frame: a string, or `funcname`, `filename` and a line: `location.lineno` (3.15) or `lineno` (3.14).
//!
//! In the tree whoever waits stands above what it waits for: a task, the functions that it is in, and below the innermost the
//! tasks that it awaits. Functions of the same name below the same node are one. Tasks that await each other in a ring have no
//! tree: CycleFoundException. No function calls itself, so the chains may be of any length.
//!
//! `_map_file` is for `_stock` in the package: a file at a place in memory where CPython's tool looks first.
//!
//! Differs from CPython: this module can be imported without `_remote_debugging`.

use std::cell::RefCell;
use std::collections::HashMap;

use engine::sys::{Descriptor, Mapping};
use pyo3::exceptions::{
    PyMemoryError, PyOSError, PyPermissionError, PyProcessLookupError, PyRuntimeError, PySystemExit, PyTypeError,
    PyUnicodeDecodeError,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyModule, PySet, PyString};
use slots::intern;
use slots::{Args, Class, Own, Plain, Ref, Signature, Spec, add_function, arg, class, opt};

use crate::{face, library};

class! {
    /// What CycleFoundException has beyond an exception.
    pub struct CycleFound {}
}

impl Class for CycleFound {
    const NAME: &'static std::ffi::CStr = c"rasyncio.tools._CycleFound";
    const DOC: &'static std::ffi::CStr = c"_CycleFound(cycles, id2name)\n--\n\nTasks that await each other in a ring.";
    const BARE: bool = true;
    const WEAK: bool = false;

    fn define(spec: &mut Spec<Self>) {
        spec.get(c"cycles", c"Lists of task ids, each ending with the one it begins with.", |this| argument(this, 0))
            .get(c"id2name", c"The names of the tasks by their ids.", |this| argument(this, 1));
    }
}

fn argument(this: &Ref<'_, CycleFound>, place: usize) -> PyResult<Own> {
    this.any().getattr(intern!(this.py(), "args"))?.get_item(place).map(Own::new)
}

class! {
    /// A file in memory for as long as this object is there.
    pub struct MappedFile {
        mapping: Plain<RefCell<Option<Mapping>>>,
    }
}

impl Class for MappedFile {
    const NAME: &'static std::ffi::CStr = c"rasyncio.tools._MappedFile";
    const CALLABLE: bool = false;
    fn define(_: &mut Spec<Self>) {}
}

/// A task waits, in these functions, for another.
struct Await<'py> {
    waiter: Bound<'py, PyAny>,
    stack: Vec<String>,
    task: Bound<'py, PyAny>,
}

/// What the answer about a process says, task by task.
struct Index<'py> {
    names: Bound<'py, PyDict>,
    awaits: Vec<Await<'py>>,
    /// The functions that a task is in, innermost first.
    stacks: HashMap<usize, Vec<String>>,
}

fn each<'py>(object: &Bound<'py, PyAny>, name: &str) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let list = object.getattr(slots::Text(name))?;
    if list.is_none() { Ok(Vec::new()) } else { slots::items(&list) }
}

/// How a frame is written.
fn entry(frame: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = frame.py();
    if let Ok(text) = frame.cast::<PyString>() {
        return Ok(text.to_str()?.to_owned());
    }
    let place = frame.getattr_opt(intern!(py, "location"))?;
    let line = place.as_ref().unwrap_or(frame).getattr(intern!(py, "lineno"))?;
    let (name, file) = (frame.getattr(intern!(py, "funcname"))?, frame.getattr(intern!(py, "filename"))?);
    if line.eq(0)? && file.eq(slots::Text(""))? {
        return Ok(name.str()?.to_str()?.to_owned());
    }
    Ok(format!("{name} {file}:{line}"))
}

fn entries(stack: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    each(stack, "call_stack")?.iter().map(entry).collect()
}

fn index<'py>(result: &Bound<'py, PyAny>) -> PyResult<Index<'py>> {
    let py = result.py();
    let mut index = Index { names: slots::dict(py)?, awaits: Vec::new(), stacks: HashMap::new() };
    let places = slots::dict(py)?;
    for thread in result.try_iter()? {
        for task in each(&thread?, "awaited_by")? {
            let id = task.getattr(intern!(py, "task_id"))?;
            if !places.contains(&id)? {
                places.set_item(&id, places.len())?;
            }
            let place: usize = places.as_any().get_item(&id)?.extract()?;
            index.names.set_item(&id, task.getattr(intern!(py, "task_name"))?)?;
            for stack in each(&task, "coroutine_stack")? {
                index.stacks.insert(place, entries(&stack)?);
            }
            for stack in each(&task, "awaited_by")? {
                let waiter = stack.getattr(intern!(py, "task_name"))?;
                index.awaits.push(Await { waiter, stack: entries(&stack)?, task: id.clone() });
            }
        }
    }
    Ok(index)
}

/// The rings of tasks, each as a list that ends with its first.
fn cycles<'py>(py: Python<'py>, awaits: &[Await<'py>]) -> PyResult<Bound<'py, PyList>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Colour {
        OnPath,
        Done,
    }
    let graph = slots::dict(py)?;
    for one in awaits {
        let awaited = match graph.get_item(&one.waiter)? {
            Some(known) => known.cast_into::<PySet>()?,
            None => {
                let new = PySet::empty(py)?;
                graph.set_item(&one.waiter, &new)?;
                new
            }
        };
        awaited.add(&one.task)?;
    }
    let numbers = slots::dict(py)?;
    let number = |task: &Bound<'py, PyAny>| -> PyResult<usize> {
        match numbers.get_item(task)? {
            Some(known) => known.extract(),
            None => numbers.set_item(task, numbers.len()).map(|()| numbers.len() - 1),
        }
    };
    let awaited_by = |task: &Bound<'py, PyAny>| -> PyResult<Vec<Bound<'py, PyAny>>> {
        graph.get_item(task)?.map_or_else(|| Ok(Vec::new()), |set| slots::items(&set))
    };
    let (mut colours, found) = (HashMap::new(), slots::list(py)?);
    for first in graph.keys() {
        if colours.contains_key(&number(&first)?) {
            continue;
        }
        colours.insert(number(&first)?, Colour::OnPath);
        // The path, with what is left to look at of each task on it.
        let mut path = vec![(first.clone(), awaited_by(&first)?.into_iter())];
        while let Some((task, left)) = path.last_mut() {
            let Some(next) = left.next() else {
                colours.insert(number(task)?, Colour::Done);
                path.pop();
                continue;
            };
            match colours.get(&number(&next)?) {
                None => {
                    colours.insert(number(&next)?, Colour::OnPath);
                    let left = awaited_by(&next)?.into_iter();
                    path.push((next, left));
                }
                Some(Colour::OnPath) => {
                    let own = number(&next)?;
                    let numbered = path.iter().map(|(task, _)| number(task)).collect::<PyResult<Vec<_>>>()?;
                    let begin = numbered.iter().position(|other| *other == own).unwrap_or(0);
                    let ring = slots::list_of(py, path[begin..].iter().map(|(task, _)| task))?;
                    ring.append(next)?;
                    found.append(ring)?;
                }
                Some(Colour::Done) => {}
            }
        }
    }
    Ok(found)
}

/// A task, or a function that a task or a function is in.
#[derive(Default)]
struct Node {
    /// None for a task that is known only as one that waits.
    label: Option<String>,
    is_task: bool,
    children: Vec<usize>,
    functions: HashMap<String, usize>,
    is_child: bool,
}

struct Tree<'py> {
    nodes: Vec<Node>,
    /// Task id -> its place among the nodes.
    tasks: Bound<'py, PyDict>,
}

impl<'py> Tree<'py> {
    fn task(&mut self, id: &Bound<'py, PyAny>) -> PyResult<usize> {
        if let Some(known) = self.tasks.get_item(id)? {
            return known.extract();
        }
        self.tasks.set_item(id, self.nodes.len())?;
        self.nodes.push(Node { is_task: true, ..Node::default() });
        Ok(self.nodes.len() - 1)
    }

    fn function(&mut self, parent: usize, name: String) -> usize {
        if let Some(known) = self.nodes[parent].functions.get(&name) {
            return *known;
        }
        let place = self.nodes.len();
        self.nodes.push(Node { label: Some(name.clone()), is_child: true, ..Node::default() });
        self.nodes[parent].children.push(place);
        self.nodes[parent].functions.insert(name, place);
        place
    }

    /// Goes down from a node through the functions of a stack, outermost first.
    fn descend(&mut self, from: usize, stack: Vec<String>) -> usize {
        stack.into_iter().rev().fold(from, |node, name| self.function(node, name))
    }
}

fn tree<'py>(py: Python<'py>, mut index: Index<'py>) -> PyResult<Tree<'py>> {
    let mut tree = Tree { nodes: Vec::new(), tasks: slots::dict(py)? };
    for (id, name) in index.names.iter() {
        let place = tree.task(&id)?;
        tree.nodes[place].label = Some(name.str()?.to_str()?.to_owned());
    }
    let known = tree.nodes.len();
    let mut waits = vec![false; known];
    for one in index.awaits {
        let waiter = tree.task(&one.waiter)?;
        if let Some(waits) = waits.get_mut(waiter) {
            *waits = true;
        }
        let node = tree.descend(waiter, one.stack);
        let task = tree.task(&one.task)?;
        if !tree.nodes[node].children.contains(&task) {
            tree.nodes[node].children.push(task);
        }
        tree.nodes[task].is_child = true;
    }
    for (place, _) in waits.iter().enumerate().filter(|(_, waits)| !**waits) {
        if let Some(stack) = index.stacks.remove(&place) {
            tree.descend(place, stack);
        }
    }
    Ok(tree)
}

/// The lines of a node and of all below it.
fn lines(tree: &Tree<'_>, root: usize, task_mark: &str, function_mark: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left = vec![(root, String::new(), true)];
    while let Some((place, margin, is_last)) = left.pop() {
        let node = &tree.nodes[place];
        let mark = if node.is_task { task_mark } else { function_mark };
        let branch = if is_last { "└── " } else { "├── " };
        lines.push(format!("{margin}{branch}{mark} {}", node.label.as_deref().unwrap_or_default()));
        let margin = margin + if is_last { "    " } else { "│   " };
        for (at, child) in node.children.iter().enumerate().rev() {
            left.push((*child, margin.clone(), at + 1 == node.children.len()));
        }
    }
    lines
}

fn async_tree(result: &Bound<'_, PyAny>, task_mark: &str, function_mark: &str) -> PyResult<Vec<Vec<String>>> {
    let py = result.py();
    let index = index(result)?;
    let cycles = cycles(py, &index.awaits)?;
    if !cycles.is_empty() {
        let class = face(py, "tools")?.getattr(intern!(py, "CycleFoundException"))?;
        return Err(slots::raise(&class.call1((cycles, index.names))?));
    }
    let tree = tree(py, index)?;
    let roots =
        (0..tree.nodes.len()).filter(|place| !tree.nodes[*place].is_child && tree.nodes[*place].label.is_some());
    Ok(roots.map(|root| lines(&tree, root, task_mark, function_mark)).collect())
}

/// The names of the functions of some stacks, without their places.
fn chain<'py>(stacks: impl IntoIterator<Item = Bound<'py, PyAny>>) -> PyResult<String> {
    let mut names = Vec::new();
    for stack in stacks {
        let short = |entry: &String| entry.split(' ').next().unwrap_or_default().to_owned();
        names.extend(entries(&stack)?.iter().map(short));
    }
    Ok(names.join(" -> "))
}

fn hex(id: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = id.py();
    Ok(library(py, "builtins")?.call_method1(intern!(py, "hex"), (id,))?.str()?.to_str()?.to_owned())
}

fn task_table<'py>(result: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    let py = result.py();
    let (names, table) = (index(result)?.names, slots::list(py)?);
    for thread in result.try_iter()? {
        let thread = thread?;
        let thread_id = thread.getattr(intern!(py, "thread_id"))?;
        for task in each(&thread, "awaited_by")? {
            let id = task.getattr(intern!(py, "task_id"))?;
            let name = task.getattr(intern!(py, "task_name"))?;
            let row = |rest: [Bound<'py, PyAny>; 3]| -> PyResult<()> {
                let stack = chain(each(&task, "coroutine_stack")?)?;
                let row = slots::list_of(py, [thread_id.clone()])?;
                row.append(hex(&id)?)?;
                row.append(&name)?;
                row.append(stack)?;
                rest.into_iter().try_for_each(|column| row.append(column))?;
                table.append(row)
            };
            let text = |text: &str| slots::text(py, text).map(Bound::into_any);
            let waiting = each(&task, "awaited_by")?;
            if waiting.is_empty() {
                row([text("")?, text("")?, text("0x0")?])?;
            }
            for stack in waiting {
                let waiter = stack.getattr(intern!(py, "task_name"))?;
                let name = names.get_item(&waiter)?.map_or_else(|| text("Unknown"), Ok)?;
                let waiter = match waiter.is_instance_of::<pyo3::types::PyInt>() {
                    true => hex(&waiter)?,
                    false => waiter.str()?.to_str()?.to_owned(),
                };
                row([text(&chain([stack])?)?, name, text(&waiter)?])?;
            }
        }
    }
    Ok(table)
}

fn all_awaited_by<'py>(pid: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = pid.py();
    let asking = face(py, "_ps")?;
    match asking.call_method1(intern!(py, "get_all_awaited_by"), (pid,)) {
        Err(error) if error.is_instance_of::<PyRuntimeError>(py) && slots::VERSION >= (3, 14) => {
            match face(py, "tools")?.getattr(intern!(py, "RemoteUnwinder")) {
                Ok(unwinder) => unwinder.call1((pid,))?.call_method0(intern!(py, "get_all_awaited_by")),
                Err(_) => Err(error),
            }
        }
        answer => answer,
    }
}

fn print(py: Python<'_>, text: &str, to_errors: bool) -> PyResult<()> {
    let keywords = slots::dict(py)?;
    if to_errors {
        keywords.set_item(intern!(py, "file"), library(py, "sys")?.getattr(intern!(py, "stderr"))?)?;
    }
    let print = library(py, "builtins")?.getattr(intern!(py, "print"))?;
    print.call((text,), Some(&keywords)).map(drop)
}

/// Says why on stderr; the exception that ends the program.
fn give_up(py: Python<'_>, text: &str) -> PyErr {
    print(py, text, true).err().unwrap_or_else(|| PySystemExit::new_err(1))
}

fn no_permission(py: Python<'_>) -> PyErr {
    give_up(
        py,
        "Error: The specified process cannot be attached to due to insufficient permissions.\n\
         Which ones are needed, and how to get them, is told under\n\
         https://docs.python.org/3/howto/remote_debugging.html#permission-requirements\n",
    )
}

/// What is known of a process. One that runs meanwhile may be unreadable for a moment, so there are several attempts.
fn awaited_by_tasks<'py>(pid: &Bound<'py, PyAny>, retries: u32) -> PyResult<Bound<'py, PyAny>> {
    let py = pid.py();
    let mut left = retries;
    loop {
        // The function on the face: people put their own there.
        let error = match face(py, "tools")?.call_method1(intern!(py, "get_all_awaited_by"), (pid,)) {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        let is_transient = error.is_instance_of::<PyRuntimeError>(py)
            || error.is_instance_of::<PyOSError>(py)
            || error.is_instance_of::<PyUnicodeDecodeError>(py)
            || error.is_instance_of::<PyMemoryError>(py);
        if error.is_instance_of::<PyPermissionError>(py) {
            return Err(no_permission(py));
        }
        if error.is_instance_of::<PyProcessLookupError>(py) {
            return Err(give_up(py, &format!("Error: process {pid} not found.")));
        }
        if !is_transient {
            return Err(error);
        }
        if left == 0 {
            let mut cause = error.value(py).clone().into_any();
            while error.is_instance_of::<PyRuntimeError>(py) {
                match cause.getattr(intern!(py, "__context__"))? {
                    context if context.is_none() => break,
                    context => cause = context,
                }
            }
            return Err(give_up(py, &format!("Error retrieving tasks: {}", cause.str()?)));
        }
        left -= 1;
    }
}

fn display_table(pid: &Bound<'_, PyAny>, retries: u32) -> PyResult<()> {
    const WIDTHS: [usize; 7] = [10, 20, 20, 50, 50, 15, 15];
    let py = pid.py();
    let write = |columns: Vec<String>| {
        let columns = columns.iter().zip(WIDTHS).map(|(column, width)| format!("{column:<width$}"));
        print(py, &columns.collect::<Vec<_>>().join(" "), false)
    };
    let table = task_table(&awaited_by_tasks(pid, retries)?)?;
    let heads = ["tid", "task id", "task name", "coroutine stack", "awaiter chain", "awaiter name", "awaiter id"];
    write(heads.map(str::to_owned).to_vec())?;
    print(py, &"-".repeat(WIDTHS.iter().sum()), false)?;
    for row in table {
        let columns = row.try_iter()?.map(|column| Ok(column?.str()?.to_str()?.to_owned()));
        write(columns.collect::<PyResult<_>>()?)?;
    }
    Ok(())
}

fn display_tree(pid: &Bound<'_, PyAny>, retries: u32) -> PyResult<()> {
    let py = pid.py();
    match async_tree(&awaited_by_tasks(pid, retries)?, "(T)", "") {
        Ok(trees) => trees.iter().try_for_each(|lines| print(py, &lines.join("\n"), false)),
        Err(error) if error.is_instance(py, &face(py, "tools")?.getattr(intern!(py, "CycleFoundException"))?) => {
            let mut text = "ERROR: await-graph contains cycles - cannot print a tree!\n".to_owned();
            let names = error.value(py).getattr(intern!(py, "id2name"))?.cast_into::<PyDict>()?;
            for ring in error.value(py).getattr(intern!(py, "cycles"))?.try_iter()? {
                let mut named = Vec::new();
                for task in ring?.try_iter()? {
                    let task = task?;
                    named.push(match names.get_item(&task)? {
                        Some(name) => name.str()?.to_str()?.to_owned(),
                        None => hex(&task)?,
                    });
                }
                text += &format!("\ncycle: {}", named.join(" → "));
            }
            Err(give_up(py, &text))
        }
        Err(error) => Err(error),
    }
}

fn pid_and_retries<'a, 'py>(args: &Args<'a, 'py>, name: &'static str) -> PyResult<(&'a Bound<'py, PyAny>, u32)> {
    match args.parse(&Signature::function(name, [arg("pid"), opt("retries")]))? {
        [Some(pid), retries] => Ok((pid, retries.map_or(Ok(3), |retries| retries.extract())?)),
        _ => Err(PyTypeError::new_err("pid is missing")),
    }
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<CycleFound>(module)?;
    let tree_doc = c"build_async_tree(result, task_emoji='(T)', cor_emoji='')\n--\n\n\
        The trees of what get_all_awaited_by() answers, each as a list of lines. CycleFoundException if tasks await each\n\
        other in a ring.";
    add_function(module, c"build_async_tree", tree_doc, |py, args| {
        const SIGNATURE: Signature<3> =
            Signature::function("build_async_tree", [arg("result"), opt("task_emoji"), opt("cor_emoji")]);
        let [Some(result), task_mark, function_mark] = args.parse(&SIGNATURE)? else {
            return Err(PyTypeError::new_err("result is missing"));
        };
        let task_mark: String = task_mark.map_or_else(|| Ok("(T)".to_owned()), |mark| mark.extract())?;
        let function_mark: String = function_mark.map_or_else(|| Ok(String::new()), |mark| mark.extract())?;
        let trees = async_tree(result, &task_mark, &function_mark)?;
        Ok(Own::new(slots::list_of(py, trees)?.into_any()))
    })?;
    let table_doc = c"build_task_table(result)\n--\n\n\
        What get_all_awaited_by() answers as rows: thread, task id, task name, its functions, those of who waits for it, and\n\
        the name and id of that task.";
    add_function(module, c"build_task_table", table_doc, |_, args| {
        const SIGNATURE: Signature<1> = Signature::function("build_task_table", [arg("result")]);
        let [result] = args.parse(&SIGNATURE)?;
        result.map(|result| task_table(result).map(|table| Own::new(table.into_any()))).transpose()
    })?;
    let all_doc = c"get_all_awaited_by(pid)\n--\n\nThe tasks of a process, thread by thread, and who waits for them.";
    add_function(module, c"get_all_awaited_by", all_doc, |_, args| {
        const SIGNATURE: Signature<1> = Signature::function("get_all_awaited_by", [arg("pid")]);
        let [pid] = args.parse(&SIGNATURE)?;
        pid.map(|pid| all_awaited_by(pid).map(Own::new)).transpose()
    })?;
    let display_doc = c"display_awaited_by_tasks_table(pid, retries=3)\n--\n\nPrint the table of a process's tasks.";
    add_function(module, c"display_awaited_by_tasks_table", display_doc, |_, args| {
        let (pid, retries) = pid_and_retries(args, "display_awaited_by_tasks_table")?;
        display_table(pid, retries)
    })?;
    let display_doc = c"display_awaited_by_tasks_tree(pid, retries=3)\n--\n\nPrint the trees of a process's tasks.";
    add_function(module, c"display_awaited_by_tasks_tree", display_doc, |_, args| {
        let (pid, retries) = pid_and_retries(args, "display_awaited_by_tasks_tree")?;
        display_tree(pid, retries)
    })?;
    let map_doc = c"_map_file(descriptor, address, length)\n--\n\n\
        Map the beginning of a file at this address, for as long as the object that is returned is there. FileExistsError if\n\
        something is mapped there.";
    add_function(module, c"_map_file", map_doc, |py, args| {
        const SIGNATURE: Signature<3> =
            Signature::function("_map_file", [arg("descriptor"), arg("address"), arg("length")]);
        let [Some(descriptor), Some(address), Some(length)] = args.parse(&SIGNATURE)? else {
            return Err(PyTypeError::new_err("an argument is missing"));
        };
        let mapping = Mapping::at(descriptor.extract::<Descriptor>()?, address.extract()?, length.extract()?)?;
        let mapped = MappedFile { mapping: Plain(RefCell::new(Some(mapping))) };
        Ref::create(py, mapped).map(|mapped| Own::new(mapped.into_any()))
    })?;
    let permission_doc =
        c"exit_with_permission_help_text()\n--\n\nSay on stderr that the process may not be looked into, and exit.";
    add_function(module, c"exit_with_permission_help_text", permission_doc, |py, _| Err::<(), _>(no_permission(py)))
}
