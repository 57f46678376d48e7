//! A child process by a descriptor of it, Linux's pidfd: its end as an event, its exit code, signals.
//!
//! The room of subprocesses opens one right after it has started a process, has the poller watch it, and reaps by it. A number
//! of a process may be given to another one as soon as the first was reaped, by whomever; the descriptor never means another.
//!
//! States, the kernel's: running -> ended (the descriptor is readable, for ever) -> reaped (ECHILD for whoever asks, ESRCH for
//! signals).

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};
use std::io;
use std::time::Duration;

use crate::sys::Descriptor;

/// A descriptor of a child process.
#[derive(Debug)]
pub struct Process {
    descriptor: OwnedFd,
}

/// A status as Python's `os.waitstatus_to_exitcode` has it: what was given to `exit`, or minus the signal's number.
fn code(status: &WaitIdStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => -signal,
        (None, None) => 0,
    }
}

impl Process {
    /// The child of this number. `ESRCH` if it was reaped; `ENOSYS` or `EPERM` where there are no such descriptors.
    pub fn open(pid: i32) -> io::Result<Process> {
        let pid = Some(pid).filter(|&pid| pid > 0).and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Process { descriptor: pidfd_open(pid, PidfdFlags::empty())? })
    }

    /// The descriptor for the poller, readable when the process has ended.
    pub fn fd(&self) -> Descriptor {
        self.descriptor.as_raw_fd()
    }

    fn wait(&self, options: WaitIdOptions) -> io::Result<Option<i32>> {
        let options = WaitIdOptions::EXITED | options;
        let status = retry_on_intr(|| waitid(WaitId::PidFd(self.descriptor.as_fd()), options))?;
        Ok(status.map(|status| code(&status)))
    }

    /// Reap it if it has ended: its exit code. None if it runs; `ECHILD` if somebody else has reaped it.
    pub fn reap(&self) -> io::Result<Option<i32>> {
        self.wait(WaitIdOptions::NOHANG)
    }

    /// Reap it, waiting for its end.
    pub fn wait_and_reap(&self) -> io::Result<i32> {
        Ok(self.wait(WaitIdOptions::empty())?.unwrap_or_default())
    }

    /// Whether it runs: it is this process's child and has not ended.
    pub fn is_running(&self) -> bool {
        matches!(self.wait(WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT), Ok(None))
    }

    /// Wait for its end, not longer than the time given. Says whether it has ended.
    pub fn wait_for_end(&self, most: Duration) -> io::Result<bool> {
        let most = Timespec { tv_sec: most.as_secs() as i64, tv_nsec: most.subsec_nanos().into() };
        let mut fds = [PollFd::new(&self.descriptor, PollFlags::IN)];
        Ok(retry_on_intr(|| poll(&mut fds, Some(&most)))? > 0)
    }

    /// Send it a signal. `ESRCH` if it was reaped; one that has ended takes it without a word.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        // SAFETY: plain numbers and a null pointer, which means the signal information that kill() would make.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.descriptor.as_raw_fd(),
                number,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[expect(clippy::zombie_processes, reason = "it is reaped by its descriptor, which is what is tested")]
    fn start(program: &str, arguments: &[&str]) -> Process {
        let mut command = Command::new(program);
        let child = command.args(arguments).stdin(Stdio::null()).spawn().unwrap();
        Process::open(child.id() as i32).unwrap()
    }

    #[test]
    fn an_exit_code_is_read_once() {
        let process = start("sh", &["-c", "exit 7"]);
        assert!(process.wait_for_end(Duration::from_secs(60)).unwrap());
        assert!(!process.is_running());
        assert_eq!(process.reap().unwrap(), Some(7));
        assert_eq!(process.reap().unwrap_err().raw_os_error(), Some(libc::ECHILD));
        assert_eq!(process.signal(libc::SIGTERM).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        assert!(!process.is_running());
    }

    #[test]
    fn a_signal_is_a_negative_code() {
        let process = start("sleep", &["600"]);
        assert!(process.is_running());
        assert_eq!(process.reap().unwrap(), None);
        assert!(!process.wait_for_end(Duration::ZERO).unwrap());
        process.signal(libc::SIGKILL).unwrap();
        assert_eq!(process.wait_and_reap().unwrap(), -libc::SIGKILL);
        assert_eq!(Process::open(-1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
