//! The functions of OpenSSL that CPython's `_ssl` was linked with, found where it found them.
//!
//! Asked by [`Channel`](super::Channel), once a process. Calls the dynamic linker: `_ssl` is loaded already, and its own
//! dependencies are searched, nothing else; so the library is the very one whose objects `_ssl` holds.
//!
//! There is none where `_ssl` is built into the interpreter or hides a static OpenSSL inside, where a function is missing
//! (LibreSSL, AWS-LC), or where the version is one that nobody has looked at, or not the one that `_ssl` speaks to. Then everything goes
//! through `_ssl`.
//!
//! Nothing here is ever unloaded: an extension module stays.

use std::ffi::{CStr, CString, OsString, c_char, c_int, c_long, c_ulong, c_void};
use std::ops::Range;
use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::port;

/// An `SSL`.
#[repr(C)]
pub(super) struct Ssl([u8; 0]);

/// A `BIO`.
#[repr(C)]
pub(super) struct Bio([u8; 0]);

/// A `BIO_METHOD`.
#[repr(C)]
pub(super) struct Method([u8; 0]);

/// Versions that are known to be as this room thinks: 1.1.1 to the last of 3 and 4.
const KNOWN: Range<c_ulong> = 0x1010_1000..0x5000_0000;

/// A BIO that others neither read from nor write to.
const SOURCE_SINK: c_int = 0x0400;

macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) $(-> $answer:ty)?;)*) => {
        /// The functions, and the kind of BIO that is made with them.
        #[allow(non_snake_case)]
        pub(super) struct Library {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $answer)?,)*
            method: *mut Method,
        }

        impl Library {
            fn find(look_up: impl Fn(&CStr) -> Option<*mut c_void>) -> Option<Library> {
                Some(Library {
                    $($name: {
                        let address = look_up(const {
                            match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                                Ok(name) => name,
                                Err(_) => panic!("a name has no zero"),
                            }
                        })?;
                        // SAFETY: the address of the function of this name in a library that calls itself OpenSSL; the
                        // type is the one that its manual documents, the same in all versions that are let in.
                        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $answer)?>(address) }
                    },)*
                    method: std::ptr::null_mut(),
                })
            }
        }
    };
}

functions! {
    SSL_read_ex: fn(*mut Ssl, *mut c_void, usize, *mut usize) -> c_int;
    SSL_write_ex: fn(*mut Ssl, *const c_void, usize, *mut usize) -> c_int;
    SSL_pending: fn(*const Ssl) -> c_int;
    SSL_want: fn(*const Ssl) -> c_int;
    SSL_is_init_finished: fn(*const Ssl) -> c_int;
    SSL_get_SSL_CTX: fn(*const Ssl) -> *mut c_void;
    SSL_get_rbio: fn(*const Ssl) -> *mut Bio;
    SSL_get_wbio: fn(*const Ssl) -> *mut Bio;
    SSL_set0_rbio: fn(*mut Ssl, *mut Bio);
    SSL_set0_wbio: fn(*mut Ssl, *mut Bio);
    BIO_new: fn(*const Method) -> *mut Bio;
    BIO_free: fn(*mut Bio) -> c_int;
    BIO_up_ref: fn(*mut Bio) -> c_int;
    BIO_read: fn(*mut Bio, *mut c_void, c_int) -> c_int;
    BIO_write: fn(*mut Bio, *const c_void, c_int) -> c_int;
    BIO_ctrl: fn(*mut Bio, c_int, c_long, *mut c_void) -> c_long;
    BIO_ctrl_pending: fn(*mut Bio) -> usize;
    BIO_set_data: fn(*mut Bio, *mut c_void);
    BIO_get_data: fn(*mut Bio) -> *mut c_void;
    BIO_set_init: fn(*mut Bio, c_int);
    BIO_set_flags: fn(*mut Bio, c_int);
    BIO_clear_flags: fn(*mut Bio, c_int);
    BIO_test_flags: fn(*const Bio, c_int) -> c_int;
    BIO_get_new_index: fn() -> c_int;
    BIO_meth_new: fn(c_int, *const c_char) -> *mut Method;
    BIO_meth_set_read: fn(*mut Method, unsafe extern "C" fn(*mut Bio, *mut c_char, c_int) -> c_int) -> c_int;
    BIO_meth_set_write: fn(*mut Method, unsafe extern "C" fn(*mut Bio, *const c_char, c_int) -> c_int) -> c_int;
    BIO_meth_set_ctrl: fn(*mut Method, unsafe extern "C" fn(*mut Bio, c_int, c_long, *mut c_void) -> c_long) -> c_int;
    BIO_meth_set_destroy: fn(*mut Method, unsafe extern "C" fn(*mut Bio) -> c_int) -> c_int;
    OpenSSL_version: fn(c_int) -> *const c_char;
    OpenSSL_version_num: fn() -> c_ulong;
}

// SAFETY: functions, and a table of functions that is written before anybody else sees it, and never afterwards.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();

impl Library {
    /// The library; None where there is none that may be called.
    pub(super) fn get(py: Python<'_>) -> PyResult<Option<&'static Library>> {
        if LIBRARY.get().is_none() {
            let Some((file, version)) = file_and_version(py)? else { return Ok(None) };
            let _ = LIBRARY.set(load(&file, &version));
        }
        Ok(Library::known())
    }

    /// The library, if somebody has asked for it before.
    pub(super) fn known() -> Option<&'static Library> {
        LIBRARY.get()?.as_ref()
    }

    /// The kind of BIO that [`port`] implements.
    pub(super) fn method(&self) -> *const Method {
        self.method
    }

    /// Whether it is a version that is known, and the one that `_ssl` has asked: where the interpreter itself brings an OpenSSL
    /// for everybody, `_ssl` uses that and not the one that it depends on.
    fn is_known(&self, version: &str) -> bool {
        // SAFETY: both may be asked at any time; the text is a constant of the library.
        let (number, text) = unsafe { ((self.OpenSSL_version_num)(), CStr::from_ptr((self.OpenSSL_version)(0))) };
        KNOWN.contains(&number) && version.starts_with("OpenSSL ") && text.to_bytes() == version.as_bytes()
    }

    fn with_method(mut self) -> Option<Library> {
        // SAFETY: a fresh method, which only this function has; the functions put in have the documented signatures and
        // keep to what `port` says of them.
        unsafe {
            let index = (self.BIO_get_new_index)();
            if index < 0 {
                return None;
            }
            let method = (self.BIO_meth_new)(index | SOURCE_SINK, c"rasyncio".as_ptr());
            let made = !method.is_null()
                && (self.BIO_meth_set_read)(method, port::read) == 1
                && (self.BIO_meth_set_write)(method, port::write) == 1
                && (self.BIO_meth_set_ctrl)(method, port::control) == 1
                && (self.BIO_meth_set_destroy)(method, port::destroy) == 1;
            self.method = method;
            made.then_some(self)
        }
    }
}

/// Where `_ssl` was loaded from, and what it says of its OpenSSL; None if it is part of the interpreter, or not loaded.
fn file_and_version(py: Python<'_>) -> PyResult<Option<(CString, String)>> {
    let modules = py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?;
    let Some(module) = modules.get_item("_ssl")? else { return Ok(None) };
    let text = |name| Ok::<_, PyErr>(module.getattr_opt(name)?.and_then(|value| value.cast_into::<PyString>().ok()));
    let (Some(file), Some(version)) = (text("__file__")?, text("OPENSSL_VERSION")?) else { return Ok(None) };
    let file = CString::new(file.extract::<OsString>()?.into_encoded_bytes());
    Ok(file.ok().zip(Some(version.to_string_lossy().into_owned())))
}

#[cfg(unix)]
fn load(file: &CStr, version: &str) -> Option<Library> {
    // SAFETY: a path that ends with a zero; RTLD_NOLOAD runs no code, it counts one more user of what is loaded, who
    // never leaves. Names are looked up in that object and in what it depends on.
    unsafe {
        let handle = libc::dlopen(file.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        if handle.is_null() {
            return None;
        }
        let found = Library::find(|name| {
            let address = libc::dlsym(handle, name.as_ptr());
            (!address.is_null()).then_some(address)
        })?;
        found.is_known(version).then_some(found)?.with_method()
    }
}

#[cfg(not(unix))]
fn load(_: &CStr, _: &str) -> Option<Library> {
    None
}

/// The number behind an unsigned integer of OpenSSL, for a C `int`.
pub(super) fn clipped(size: usize) -> c_int {
    c_int::try_from(size).unwrap_or(c_int::MAX)
}
