//! Makes the interpreter's version known to `cfg`, as `Py_3_12` and so on.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
