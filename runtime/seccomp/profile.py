"""Which system calls a container may make: Docker's default, and OCI ``linux.seccomp`` objects.

The default follows moby 28: what is not named here is EPERM, clone3 is ENOSYS so that C libraries
fall back to clone, whose flags a filter can see. Runtime-spec ``config-linux.md``, "Seccomp".
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping
from typing import Any, Final

from records import Record
from runtime import constants as k
from runtime.errors import RuntimeFault

AF_ALG: Final = 38
AF_VSOCK: Final = 40
NAMESPACE_FLAGS: Final = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""

_ALLOWED: Final = """
accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown
chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64
fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
fcntl64 fdatasync fgetxattr file_getattr file_setattr flistxattr flock fork fremovexattr fsetxattr
fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue
futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu
getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32
getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid
getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel
io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get
ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32
lgetxattr link linkat listen listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr
lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat
mknod mknodat mlock mlock2 mlockall mmap mmap2 modify_ldt mprotect mq_getsetattr mq_notify mq_open
mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal
msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat
_newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free
pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease
process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read
readahead readlink readlinkat readv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages
removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction
rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 sendfile sendfile64
sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid
setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32
setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid
setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signal signalfd
signalfd4 sigpending sigprocmask sigreturn sigsuspend socketpair splice stat stat64 statfs statfs64
statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create
timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill
truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat
utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev
"""

_BY_CAPABILITY: Final = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": (
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie "
        "lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount "
        "open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname "
        "setns statmount syslog umount umount2 unshare"
    ),
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}

_ACTIONS: Final = {
    "SCMP_ACT_ALLOW": k.SECCOMP_RET_ALLOW,
    "SCMP_ACT_LOG": k.SECCOMP_RET_LOG,
    "SCMP_ACT_KILL": k.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": k.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": k.SECCOMP_RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": k.SECCOMP_RET_TRAP,
    "SCMP_ACT_ERRNO": k.SECCOMP_RET_ERRNO,
    "SCMP_ACT_TRACE": k.SECCOMP_RET_TRACE,
}
_OPERATORS: Final = {
    "SCMP_CMP_EQ": "==",
    "SCMP_CMP_NE": "!=",
    "SCMP_CMP_LT": "<",
    "SCMP_CMP_LE": "<=",
    "SCMP_CMP_GT": ">",
    "SCMP_CMP_GE": ">=",
    "SCMP_CMP_MASKED_EQ": "&",
}

EPERM: Final = k.SECCOMP_RET_ERRNO | errno.EPERM
ENOSYS: Final = k.SECCOMP_RET_ERRNO | errno.ENOSYS


class Comparison(Record):
    """``argument[index] operator value``, unsigned; ``&`` is ``argument & mask == value``."""

    index: int
    operator: str
    value: int
    mask: int = 0


class Rule(Record):
    """If every comparison holds, ``action`` (a SECCOMP_RET_* value)."""

    action: int
    comparisons: tuple[Comparison, ...] = ()


class Profile(Record):
    """Rules by system call name, tried in order; ``default`` answers for everything else."""

    default: int
    rules: Mapping[str, tuple[Rule, ...]]


def default_profile(capabilities: Collection[str] = ()) -> Profile:
    """Docker's default for a process with ``capabilities`` (``CAP_*`` names).

    socketcall hides its arguments from a filter, so it is refused and 32-bit C libraries use
    socket. The kernel reads the socket family as an int, so only the low half of the argument is
    compared.
    """
    allow = Rule(k.SECCOMP_RET_ALLOW)
    rules: dict[str, tuple[Rule, ...]] = dict.fromkeys(_ALLOWED.split(), (allow,))
    rules["personality"] = tuple(
        Rule(k.SECCOMP_RET_ALLOW, (Comparison(0, "==", value),))
        for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
    )
    rules["socket"] = (
        Rule(EPERM, (Comparison(0, "&", AF_VSOCK, 0xFFFFFFFF),)),
        Rule(EPERM, (Comparison(0, "&", AF_ALG, 0xFFFFFFFF),)),
        allow,
    )
    rules["clone"] = (Rule(k.SECCOMP_RET_ALLOW, (Comparison(0, "&", 0, NAMESPACE_FLAGS),)),)
    rules["clone3"] = rules["socketcall"] = (Rule(ENOSYS),)
    for capability, names in _BY_CAPABILITY.items():
        if capability in capabilities:
            rules.update(dict.fromkeys(names.split(), (allow,)))
    return Profile(EPERM, rules)


def oci_profile(document: Mapping[str, Any]) -> Profile:
    """The ``linux.seccomp`` object of config.json.

    Raises:
        RuntimeFault: ``request-invalid``, an unknown action or operator.
    """
    try:
        default = _action(document["defaultAction"], document.get("defaultErrnoRet"))
        rules: dict[str, tuple[Rule, ...]] = {}
        for entry in document.get("syscalls") or ():
            action = _action(entry["action"], entry.get("errnoRet"))
            comparisons = tuple(_comparison(arg) for arg in entry.get("args") or ())
            for name in entry["names"]:
                rules[name] = (*rules.get(name, ()), Rule(action, comparisons))
    except (KeyError, TypeError, AttributeError) as error:
        raise RuntimeFault(
            f"seccomp profile: unknown or missing {error}",
            fix="see the OCI runtime specification, config-linux.md, Seccomp",
            code="request-invalid",
        ) from error
    return Profile(default, rules)


def _action(name: str, number: int | None) -> int:
    action = _ACTIONS[name]
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        return action | (errno.EPERM if number is None else number & 0xFFFF)
    return action


def _comparison(arg: Mapping[str, Any]) -> Comparison:
    operator = _OPERATORS[arg["op"]]
    if operator == "&":
        return Comparison(arg["index"], operator, arg.get("valueTwo", 0), arg["value"])
    return Comparison(arg["index"], operator, arg["value"])
