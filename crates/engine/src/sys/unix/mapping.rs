//! A file mapped at an address of the caller's choice, for another process to find it there.
//!
//! The room `tools` makes one for what looks through this process's memory from its lowest address on. Nobody in this process
//! reads it, so its contents may change and the file may be cut: there is no reference into it.
//!
//! It is read-only and never takes the place of anything: where something is mapped already, making one fails with `EEXIST`. Dropping it
//! unmaps it, in a forked child the child's copy.

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::ptr;

use super::borrow;
use crate::sys::Descriptor;

/// The beginning of a file in memory.
#[derive(Debug)]
pub struct Mapping {
    address: usize,
    length: usize,
}

impl Mapping {
    /// Maps `length` bytes at `address`; both are multiples of the page's size, or the kernel says `EINVAL`.
    pub fn at(file: Descriptor, address: usize, length: usize) -> io::Result<Mapping> {
        let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
        let file = borrow(file)?;
        // SAFETY: NOREPLACE leaves all memory that is mapped as it is, and kernels before 4.17, which do not know it, take
        // the address as a mere hint. What is mapped anew nobody has a reference to.
        let place = unsafe { mmap(ptr::without_provenance_mut(address), length, ProtFlags::READ, flags, file, 0)? };
        let mapping = Mapping { address: place.addr(), length };
        if mapping.address == address { Ok(mapping) } else { Err(Errno::EXIST.into()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `at` mapped exactly this, nothing has unmapped it since, as only this does, once, and there are no references into it.
        // It cannot fail for a range that is mapped, but by the limit of mappings; then it stays, which harms nobody.
        let _ = unsafe { munmap(ptr::without_provenance_mut(self.address), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, read_to_string};
    use std::os::fd::AsRawFd;

    #[test]
    fn maps_where_it_is_told_unless_something_is_there() {
        let file = File::open("/proc/self/exe").expect("an executable");
        let length = rustix::param::page_size();
        // Far below where the kernel puts anything by itself, and above what it forbids.
        let address = 0x1_0000_0000;
        let mapped =
            || read_to_string("/proc/self/maps").expect("maps").lines().any(|line| line.starts_with("100000000-"));
        let mapping = Mapping::at(file.as_raw_fd(), address, length).expect("free memory");
        assert!(mapped());
        let again = Mapping::at(file.as_raw_fd(), address, length).expect_err("taken");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert!(mapped());
        drop(mapping);
        assert!(!mapped());
    }
}
