"""The sandbox's process until the foreign code starts: it cuts itself off, says that it is ready, and compiles.

`selm_runtime.score.sandbox` runs this file by `python -I -i`; nothing imports it but tests of the filter, and it imports
nothing beyond the standard library. What comes after it, the interpreter reads from its standard input: see there.

Without any privilege the process gives up, for good:

- **system calls**: a seccomp filter lets through what `ALLOWED` and `_checked` list and answers EPERM to the rest. No
  process or program is started, no socket made but a connected pair of its own, no signal sent but to itself, no other
  process looked into, traced or limited, no memory or queue shared, no mode, owner or time of a file changed;
- **files**, where the kernel has Landlock: what is not of Python or the system's libraries cannot be read, what is not
  in the working folder not written, nor can any other process be traced or looked into;
- **capabilities**, which root has: all of them.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import stat
import struct
import sys
import types

NO_SANDBOX = 97
"""The exit code, before it is ready, where the kernel refuses the filter or the machine is of another kind."""
READY, READY_WITHOUT_LANDLOCK = b"+", b"-"

Instruction = tuple[int, int, int, int]
"""Of classic BPF: code, jump if true, jump if false, constant."""
Check = tuple[int, int, int]
"""Index of an argument, mask, and what its masked low word must be. All that is checked are C ints and flags."""

MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Linux's number of the architecture, and the place of its numbers in `ALLOWED`."""

# Name, number on x86-64, on 64-bit ARM (Linux 6.12's unistd_64.h and asm-generic/unistd.h); "-": it does not exist.
ALLOWED = """
read:0:63 write:1:64 readv:19:65 writev:20:66 pread64:17:67 pwrite64:18:68 preadv:295:69 pwritev:296:70
preadv2:327:286 pwritev2:328:287 lseek:8:62 close:3:57 close_range:436:436 fstat:5:80 newfstatat:262:79 statx:332:291
stat:4:- lstat:6:- access:21:- faccessat:269:48 faccessat2:439:439 readlink:89:- readlinkat:267:78 getdents:78:-
getdents64:217:61 getcwd:79:17 chdir:80:49 fchdir:81:50 umask:95:166 statfs:137:43 fstatfs:138:44 mkdir:83:-
mkdirat:258:34 rmdir:84:- unlink:87:- unlinkat:263:35 rename:82:- renameat:264:38 renameat2:316:276 link:86:-
linkat:265:37 symlink:88:- symlinkat:266:36 ftruncate:77:46 fallocate:285:47 fsync:74:82 fdatasync:75:83
fadvise64:221:223 flock:73:32 sendfile:40:71 copy_file_range:326:285 creat:85:- dup:32:23 dup2:33:- dup3:292:24
pipe:22:- pipe2:293:59 eventfd:284:- eventfd2:290:19 poll:7:- ppoll:271:73 select:23:- pselect6:270:72
epoll_create:213:- epoll_create1:291:20 epoll_ctl:233:21 epoll_wait:232:- epoll_pwait:281:22 epoll_pwait2:441:441
timerfd_create:283:85 timerfd_settime:286:86 timerfd_gettime:287:87 recvfrom:45:207 sendto:44:206 shutdown:48:210
getsockopt:55:209 getsockname:51:204 getpeername:52:205 mmap:9:222 munmap:11:215 mremap:25:216 mprotect:10:226
madvise:28:233 msync:26:227 mincore:27:232 brk:12:214 futex:202:98 futex_waitv:449:449 set_robust_list:273:99
set_tid_address:218:96 rseq:334:293 membarrier:324:283 sched_yield:24:124 sched_getaffinity:204:123
sched_get_priority_max:146:125 sched_get_priority_min:147:126 getcpu:309:168 exit:60:93 exit_group:231:94
restart_syscall:219:128 rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigreturn:15:139 rt_sigpending:127:136
rt_sigsuspend:130:133 rt_sigtimedwait:128:137 sigaltstack:131:132 pause:34:- alarm:37:- setitimer:38:103
getitimer:36:102 nanosleep:35:101 clock_nanosleep:230:115 clock_gettime:228:113 clock_getres:229:114
gettimeofday:96:169 time:201:- times:100:153 getrusage:98:165 getrlimit:97:163 setrlimit:160:164 sysinfo:99:179
uname:63:160 getrandom:318:278 getpid:39:172 getppid:110:173 gettid:186:178 getpgid:121:155 getpgrp:111:-
getsid:124:156 getuid:102:174 geteuid:107:175 getgid:104:176 getegid:108:177 getresuid:118:148 getresgid:120:150
getgroups:115:158
"""
CLONE3 = 435
"""Its flags lie in memory, where no filter sees them: "no such call", and threads fall back to clone."""

FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032)
"""Duplicates, flags, locks, a pipe's size: not the owner of a file, whom its signals would reach (F_SETOWN)."""
IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""
CLONE_THREAD, CLONE_NAMESPACES = 0x10000, 0x7E020000
O_TRUNC, O_ACCMODE, O_WRONLY, O_RDWR = 0x200, 3, 1, 2


def _checked(own: int) -> dict[str, tuple[int, int | None, list[list[Check]]]]:
    """Calls that depend on their arguments: the numbers, and ways to pass, each a list of checks; `own` is the pid."""

    def opening(flags: int) -> list[list[Check]]:
        # Truncating while opening to read writes, which Landlock before Linux 6.2 does not see.
        return [[(flags, O_TRUNC, 0)], [(flags, O_ACCMODE, O_WRONLY)], [(flags, O_ACCMODE, O_RDWR)]]

    whole = 0xFFFFFFFF
    return {
        "clone": (56, 220, [[(0, CLONE_THREAD | CLONE_NAMESPACES, CLONE_THREAD)]]),
        "kill": (62, 129, [[(0, whole, own)]]),
        "tgkill": (234, 131, [[(0, whole, own)]]),
        "prlimit64": (302, 261, [[(0, whole, 0)]]),
        "fcntl": (72, 25, [[(1, whole, command)] for command in FCNTLS]),
        "ioctl": (16, 29, [[(1, whole, request)] for request in IOCTLS]),
        # A pair of streams: datagrams could be addressed to sockets elsewhere.
        "socketpair": (53, 199, [[(0, whole, 1), (1, 0xF, 1)]]),
        "open": (2, None, opening(1)),
        "openat": (257, 56, opening(2)),
    }


def filter_of(machine: str, own: int) -> list[Instruction]:
    """The seccomp filter for a machine (`platform.machine()`) and the process' own pid. Raises KeyError for others."""
    architecture, place = MACHINES[machine]
    load, equal, above, masked, done = 0x20, 0x15, 0x35, 0x54, 0x06
    allow, refuse, missing, kill = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
    code: list[Instruction] = [(load, 0, 0, 4), (equal, 1, 0, architecture), (done, 0, 0, kill), (load, 0, 0, 0)]
    code += [(above, 0, 1, 0x40000000), (done, 0, 0, refuse)]  # x86-64's other numbers, for 32-bit pointers
    code += [(equal, 0, 1, CLONE3), (done, 0, 0, missing)]
    for line in ALLOWED.split():
        number = line.split(":")[1 + place]
        if number != "-":
            code += [(equal, 0, 1, int(number)), (done, 0, 0, allow)]
    for x86, arm, ways in _checked(own).values():
        checked = (x86, arm)[place]
        if checked is None:
            continue
        block: list[Instruction] = []
        for checks in ways:
            for i, (argument, mask, value) in enumerate(checks):
                rest = 3 * (len(checks) - 1 - i) + 1  # to the next way
                block += [(load, 0, 0, 16 + 8 * argument), (masked, 0, 0, mask), (equal, 0, rest, value)]
            block.append((done, 0, 0, allow))
        block.append((done, 0, 0, refuse))
        code += [(equal, 0, len(block), checked), *block]
    return [*code, (done, 0, 0, refuse)]


def _filter(libc: ctypes.CDLL) -> None:
    """Installs it, or leaves with NO_SANDBOX."""
    machine = platform.machine()
    if machine not in MACHINES or sys.platform != "linux":
        os._exit(NO_SANDBOX)
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in filter_of(machine, os.getpid()))
    held = ctypes.create_string_buffer(code)
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(held)))
    if libc.prctl(22, 2, program, 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        os._exit(NO_SANDBOX)


READ_FILE, WRITE_FILE, READ_FOLDER = 1 << 2, 1 << 1, 1 << 3
OWN_FOLDER = 0b0111_0001_1011_1110
"""Landlock's rights but to execute and to make devices, sockets and named pipes (and 1 << 15, to control devices)."""
RIGHTS_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
READABLE = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/sys/devices/system/cpu")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def _landlock(libc: ctypes.CDLL) -> bool:
    """Whether the kernel has Landlock: then only what is Python's can be read, only the working folder written."""
    create, add, restrict = 444, 445, 446  # of every architecture
    version = libc.syscall(create, None, ctypes.c_size_t(0), 1)
    if version <= 0:
        return False
    handled = RIGHTS_BY_VERSION[max(known for known in RIGHTS_BY_VERSION if known <= version)]
    # Files; TCP; from version 6 on signals to processes outside and to abstract sockets outside
    attributes = struct.pack("=QQQ", handled, 0, 3) if version >= 6 else struct.pack("=Q", handled)
    rules = libc.syscall(create, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        os._exit(NO_SANDBOX)
    packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    reading = [*READABLE, os.path.dirname(os.__file__), os.path.join(sys.base_prefix, "lib"), *packages]
    grants = [(path, READ_FILE | READ_FOLDER) for path in reading]
    grants += [(path, READ_FILE | WRITE_FILE) for path in DEVICES] + [(".", OWN_FOLDER)]
    for path, rights in grants:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # what is not there needs no right
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= READ_FILE | WRITE_FILE
        if libc.syscall(add, rules, 1, struct.pack("=Qi", rights & handled, place), 0):
            os._exit(NO_SANDBOX)
        os.close(place)
    if libc.syscall(restrict, rules, 0):
        os._exit(NO_SANDBOX)
    os.close(rules)
    return True


def _give_up_privileges(libc: ctypes.CDLL, parent: int) -> None:
    """No new privileges, no capability, nobody of the same user may look in, and an end with the parent's."""
    nothing = struct.pack("=6I", *[0] * 6)
    if libc.prctl(38, 1, 0, 0, 0) or libc.capset(struct.pack("=Ii", 0x20080522, 0), nothing):
        os._exit(NO_SANDBOX)
    libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _limit(seconds: int, memory: int) -> None:
    """Memory in bytes; processor time only as the backstop of the parent's clock."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime) + (seconds + 1) * (os.cpu_count() or 1)
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, 1 << 20),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def begin() -> tuple[types.CodeType, dict[str, object]]:
    """The foreign program, compiled, and its module's names. Raises what its compilation raises."""
    settings = json.loads(sys.argv[1])
    sys.argv[:] = [""]
    with open(settings["program"], "rb") as file:
        program = file.read()
    libc = ctypes.CDLL(None, use_errno=True)
    _give_up_privileges(libc, settings["parent"])
    confined = _landlock(libc)
    _limit(settings["seconds"], settings["memory"])
    _filter(libc)
    os.write(settings["report"], READY if confined else READY_WITHOUT_LANDLOCK)
    module = types.ModuleType("response")
    sys.modules["response"] = module
    return compile(program.decode("utf-8", "surrogatepass"), "response", "exec", dont_inherit=True), vars(module)


if __name__ == "__main__":
    program, names = begin()
