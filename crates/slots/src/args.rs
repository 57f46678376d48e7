//! Argument parsing for native functions: one static [`Signature`] each, CPython's error texts, no allocation.
//!
//! Called by the trampolines of `spec`, which hand a function its [`Args`]; called by rooms through [`Args::parse`].
//!
//! A call reaches native code in one of two forms: vectorcall (an array and a tuple of keyword names) or, for
//! `tp_init` and `tp_call`, a tuple and a dict. The trampolines bring the second into the form of the first.
//!
//! The texts are those that CPython gives for a function written in Python, because that is what the functions of
//! asyncio are: "f() missing 1 required positional argument: 'x'", "f() got an unexpected keyword argument 'y'", and so
//! on, with `self` counted for methods.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

/// One parameter of a [`Signature`].
#[derive(Clone, Copy)]
pub struct Param {
    name: &'static str,
    kind: Kind,
    required: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Positional,
    Either,
    Keyword,
}

/// A required positional-only parameter.
pub const fn pos(name: &'static str) -> Param {
    Param { name, kind: Kind::Positional, required: true }
}
/// An optional positional-only parameter.
pub const fn pos_opt(name: &'static str) -> Param {
    Param { name, kind: Kind::Positional, required: false }
}
/// A required parameter that may come by position or by name.
pub const fn arg(name: &'static str) -> Param {
    Param { name, kind: Kind::Either, required: true }
}
/// An optional parameter that may come by position or by name.
pub const fn opt(name: &'static str) -> Param {
    Param { name, kind: Kind::Either, required: false }
}
/// A required keyword-only parameter.
pub const fn kw(name: &'static str) -> Param {
    Param { name, kind: Kind::Keyword, required: true }
}
/// An optional keyword-only parameter.
pub const fn kw_opt(name: &'static str) -> Param {
    Param { name, kind: Kind::Keyword, required: false }
}

/// The parameters of a native function, in order: positional-only, either, keyword-only.
pub struct Signature<const N: usize> {
    name: &'static str,
    params: [Param; N],
    takes_self: bool,
    /// How many parameters may come by position.
    most: usize,
    /// How many of these must be given, by position or by name; None if one that comes by name only must be too.
    least: Option<usize>,
}

impl<const N: usize> Signature<N> {
    /// A module function's signature; `name` is what error texts call it.
    pub const fn function(name: &'static str, params: [Param; N]) -> Self {
        Signature::new(name, params, false)
    }

    /// A method's signature; `name` is the qualified name, `self` is counted in error texts.
    pub const fn method(name: &'static str, params: [Param; N]) -> Self {
        Signature::new(name, params, true)
    }

    const fn new(name: &'static str, params: [Param; N], takes_self: bool) -> Self {
        let (mut most, mut least, mut at) = (0, Some(0), 0);
        while at < N {
            if !matches!(params[at].kind, Kind::Keyword) {
                most += 1;
                if params[at].required {
                    least = Some(most);
                }
            } else if params[at].required {
                least = None;
            }
            at += 1;
        }
        Signature { name, params, takes_self, most, least }
    }

    /// Whether nothing but `count` arguments by position is a good call, or would be with fewer of them.
    #[inline]
    fn is_enough(&self, count: usize) -> bool {
        matches!(self.least, Some(least) if count >= least)
    }
}

/// The arguments of one call.
pub struct Args<'a, 'py> {
    py: Python<'py>,
    positional: &'a [Bound<'py, PyAny>],
    named: &'a [Bound<'py, PyAny>],
    names: Option<&'a Bound<'py, PyTuple>>,
}

type EachKeyword<'f, 'a, 'py> = dyn FnMut(&Bound<'py, PyAny>, &'a Bound<'py, PyAny>) -> PyResult<()> + 'f;

/// The values of a parsed call, one place for each parameter.
pub type Parsed<'a, 'py, const N: usize> = [Option<&'a Bound<'py, PyAny>>; N];

impl<'a, 'py> Args<'a, 'py> {
    /// Arguments in vectorcall form: `count` by position, then one for each name.
    #[inline]
    pub(crate) fn new(
        py: Python<'py>,
        values: &'a [Bound<'py, PyAny>],
        count: usize,
        names: Option<&'a Bound<'py, PyTuple>>,
    ) -> Self {
        let (positional, named) = values.split_at(count);
        Args { py, positional, named, names }
    }

    /// The token of the thread that makes the call.
    pub fn py(&self) -> Python<'py> {
        self.py
    }

    /// The arguments given by position.
    pub fn positional(&self) -> &'a [Bound<'py, PyAny>] {
        self.positional
    }

    /// Whether the call has keyword arguments.
    pub fn has_keywords(&self) -> bool {
        !self.named.is_empty()
    }

    /// Whether an argument of this name is given as a keyword.
    pub fn names(&self, name: &str) -> bool {
        self.names
            .is_some_and(|names| names.iter_borrowed().any(|own| own.cast::<PyString>().is_ok_and(|own| *own == name)))
    }

    fn each_keyword(&self, f: &mut EachKeyword<'_, 'a, 'py>) -> PyResult<()> {
        let Some(names) = self.names else { return Ok(()) };
        for (name, value) in names.iter_borrowed().zip(self.named) {
            f(&name, value)?;
        }
        Ok(())
    }

    /// The keyword arguments as a new dict, or None where there are none.
    pub fn keywords(&self) -> PyResult<Option<Bound<'py, PyDict>>> {
        if !self.has_keywords() {
            return Ok(None);
        }
        let dict = crate::dict(self.py)?;
        self.each_keyword(&mut |name, value| dict.set_item(name, value))?;
        Ok(Some(dict))
    }

    /// The values for `signature`, or the TypeError that CPython would raise.
    #[inline]
    pub fn parse<const N: usize>(&self, signature: &Signature<N>) -> PyResult<Parsed<'a, 'py, N>> {
        if self.positional.len() > signature.most {
            return Err(self.too_many(signature));
        }
        let mut values = [None; N];
        for (place, value) in values.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        if self.has_keywords() || !signature.is_enough(self.positional.len()) {
            self.fill(signature, &mut values, None)?;
        }
        Ok(values)
    }

    /// As [`Args::parse`] for a function with `*args`: what is beyond the positional parameters comes as a slice.
    #[inline(always)]
    pub fn parse_rest<const N: usize>(
        &self,
        signature: &Signature<N>,
    ) -> PyResult<(Parsed<'a, 'py, N>, &'a [Bound<'py, PyAny>])> {
        let (own, rest) = self.positional.split_at(signature.most.min(self.positional.len()));
        let mut values = [None; N];
        for (place, value) in values.iter_mut().zip(own) {
            *place = Some(value);
        }
        if self.has_keywords() || !signature.is_enough(own.len()) {
            self.fill(signature, &mut values, None)?;
        }
        Ok((values, rest))
    }

    /// As [`Args::parse`] for a function with `**kwargs`: the keywords it does not name come as a dict.
    pub fn parse_extra<const N: usize>(
        &self,
        signature: &Signature<N>,
    ) -> PyResult<(Parsed<'a, 'py, N>, Bound<'py, PyDict>)> {
        if self.positional.len() > signature.most {
            return Err(self.too_many(signature));
        }
        let mut values = [None; N];
        for (place, value) in values.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        let extra = crate::dict(self.py)?;
        self.fill(signature, &mut values, Some(&extra))?;
        Ok((values, extra))
    }

    /// Puts the keyword arguments in their places, and sees to what is missing.
    #[inline(never)]
    fn fill<const N: usize>(
        &self,
        signature: &Signature<N>,
        values: &mut Parsed<'a, 'py, N>,
        extra: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<()> {
        if self.has_keywords() {
            let name_of = signature.name;
            self.each_keyword(&mut |name, value| {
                let text = match name.cast::<PyString>() {
                    Ok(text) => text.to_str()?,
                    Err(_) => return Err(PyTypeError::new_err(format!("{name_of}() keywords must be strings"))),
                };
                match signature.params.iter().position(|p| p.name == text && p.kind != Kind::Positional) {
                    Some(at) if values[at].is_some() => {
                        Err(PyTypeError::new_err(format!("{name_of}() got multiple values for argument '{text}'")))
                    }
                    Some(at) => {
                        values[at] = Some(value);
                        Ok(())
                    }
                    None => match extra {
                        Some(extra) => extra.set_item(name, value),
                        None if signature.params.iter().any(|p| p.name == text) => Err(PyTypeError::new_err(format!(
                            "{name_of}() got some positional-only arguments passed as keyword arguments: '{text}'"
                        ))),
                        None => Err(PyTypeError::new_err(format!(
                            "{name_of}() got an unexpected keyword argument '{text}'"
                        ))),
                    },
                }
            })?;
        }
        if signature.params.iter().zip(values.iter()).any(|(p, v)| p.required && v.is_none()) {
            return Err(missing(signature, values));
        }
        Ok(())
    }

    #[cold]
    fn too_many<const N: usize>(&self, signature: &Signature<N>) -> PyErr {
        let own = usize::from(signature.takes_self);
        let most = signature.most + own;
        let required = signature.params.iter().filter(|p| p.kind != Kind::Keyword && p.required).count() + own;
        let given = self.positional.len() + own;
        let takes = if required < most { format!("from {required} to {most}") } else { most.to_string() };
        let plural = if most == 1 { "" } else { "s" };
        let was = if given == 1 { "was" } else { "were" };
        PyTypeError::new_err(format!(
            "{}() takes {takes} positional argument{plural} but {given} {was} given",
            signature.name
        ))
    }
}

#[cold]
fn missing<const N: usize>(signature: &Signature<N>, values: &Parsed<'_, '_, N>) -> PyErr {
    let absent = |keyword: bool| -> Vec<String> {
        let params = signature.params.iter().zip(values.iter());
        params
            .filter(|(p, v)| p.required && v.is_none() && (p.kind == Kind::Keyword) == keyword)
            .map(|(p, _)| format!("'{}'", p.name))
            .collect()
    };
    let (names, kind) = match absent(false) {
        names if !names.is_empty() => (names, "positional"),
        _ => (absent(true), "keyword-only"),
    };
    let plural = if names.len() == 1 { "" } else { "s" };
    let list = match names.as_slice() {
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        [head @ .., last] => format!("{}, and {last}", head.join(", ")),
        [] => String::new(),
    };
    PyTypeError::new_err(format!(
        "{}() missing {} required {kind} argument{plural}: {list}",
        signature.name,
        names.len()
    ))
}
