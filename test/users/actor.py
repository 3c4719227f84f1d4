"""actor.py STEP... - System V calls and changes of user in the order given; prints a word a step: "ok", a value or
the name of the error.

    get:KEY:MODE  put:KEY:TEXT  show:KEY[:attach]  owner:KEY  give:KEY:UID  rm:KEY  id:KEY:ID  attach:KEY   segments
    semget:KEY:MODE  semop:KEY:N  semval:KEY  semid:KEY:ID  semrm:KEY                                       sets
    setuid:UID seteuid:UID setreuid:UID setresuid:UID setresuid3:R:E:S sys-...   change of user, by libc and by syscall()
    exec                    the rest of the steps in a new program
    fork-setuid-exec:UID:STEPS-WITH-COMMAS     those in a new program of that user; then its exit status
    env:NAME  other-users
"""
import ctypes
import errno
import os
import subprocess
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
libc.syscall.restype = ctypes.c_long
IPC_CREAT, IPC_RMID, IPC_SET, IPC_STAT, GETVAL = 0o1000, 0, 1, 2, 12
SIZE = 4096
NUMBERS = {"setuid": 105, "setreuid": 113, "setresuid": 117} if os.uname().machine == "x86_64" else \
          {"setuid": 146, "setreuid": 145, "setresuid": 147}
segments, addresses, sets = {}, {}, {}


class Failed(Exception):
    pass


def checked(result):
    if result in (-1, ctypes.c_void_p(-1).value):
        raise Failed(errno.errorcode[ctypes.get_errno()])
    return result


class ShmidDs(ctypes.Structure):
    _fields_ = [("key", ctypes.c_int), ("uid", ctypes.c_uint), ("gid", ctypes.c_uint), ("rest", ctypes.c_char * 500)]


class Sembuf(ctypes.Structure):
    _fields_ = [("num", ctypes.c_ushort), ("op", ctypes.c_short), ("flg", ctypes.c_short)]


def get(key, mode):
    mode = int(mode, 8)
    segments[key] = checked(libc.shmget(int(key), SIZE if mode else 0, mode | (IPC_CREAT if mode else 0)))


def attach(key):
    if key not in addresses:
        addresses[key] = checked(libc.shmat(segments[key], None, 0))


def put(key, text):
    attach(key)
    ctypes.memmove(addresses[key], text.encode() + b"\0", len(text) + 1)


def show(key, again=None):
    if again:
        get(key, "0")
    attach(key)
    return ctypes.string_at(addresses[key]).decode() or "empty"


def stat(key):
    ds = ShmidDs()
    checked(libc.shmctl(segments[key], IPC_STAT, ctypes.byref(ds)))
    return ds


def give(key, uid):
    ds = stat(key)
    ds.uid = int(uid)
    checked(libc.shmctl(segments[key], IPC_SET, ctypes.byref(ds)))


def rm(key):
    checked(libc.shmctl(segments[key], IPC_RMID, None))


def semget(key, mode):
    mode = int(mode, 8)
    sets[key] = checked(libc.semget(int(key), 1, mode | (IPC_CREAT if mode else 0)))


def semop(key, n):
    checked(libc.semop(sets[key], ctypes.byref(Sembuf(0, int(n), 0)), 1))


def sys_call(name, *ids):
    checked(libc.syscall(ctypes.c_long(NUMBERS[name]), *[ctypes.c_long(int(i)) for i in ids]))


def fork_setuid_exec(uid, *steps):
    steps = ":".join(steps).split(",")
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        checked(libc.setuid(int(uid)))
        os.execv(sys.executable, [sys.executable, "-I", sys.argv[0], "continued", *steps])
    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def other_users():
    path = os.path.join(os.environ["VEE_DIR"], os.environ["VEE_NS"], "namespace")
    return "some" if "system.posix_acl_access" in os.listxattr(path) else "none"


STEPS = {
    "get": get, "put": put, "show": show, "attach": attach, "give": give, "rm": rm,
    "owner": lambda key: str(stat(key).uid),
    "id": lambda key, number: segments.__setitem__(key, int(number)),
    "semget": semget, "semop": semop,
    "semval": lambda key: str(checked(libc.semctl(sets[key], 0, GETVAL))),
    "semid": lambda key, number: sets.__setitem__(key, int(number)),
    "semrm": lambda key: checked(libc.semctl(sets[key], 0, IPC_RMID)) and None,
    "setuid": lambda u: checked(libc.setuid(int(u))) and None,
    "seteuid": lambda u: checked(libc.seteuid(int(u))) and None,
    "setreuid": lambda u: checked(libc.setreuid(int(u), int(u))) and None,
    "setresuid": lambda u: checked(libc.setresuid(int(u), int(u), int(u))) and None,
    "setresuid3": lambda r, e, s: checked(libc.setresuid(int(r), int(e), int(s))) and None,
    "sys-setuid": lambda u: sys_call("setuid", u),
    "sys-setreuid": lambda u: sys_call("setreuid", u, u),
    "sys-setresuid": lambda u: sys_call("setresuid", u, u, u),
    "fork-setuid-exec": fork_setuid_exec,
    "env": lambda name: os.environ.get(name, "unset"),
    "other-users": other_users,
}


def main(steps):
    continued = steps[0] == "continued"
    first = not continued
    steps = steps[continued:]
    while steps:
        step = steps.pop(0)
        if step == "exec":
            sys.stdout.flush()
            os.execv(sys.executable, [sys.executable, "-I", sys.argv[0], "continued", *steps])
        name, *args = step.split(":")
        try:
            word = STEPS[name](*args)
        except Failed as why:
            word = str(why)
        print(("" if first else " ") + (word if isinstance(word, str) else "ok"), end="")
        first = False
    print(end="" if continued else "\n", flush=True)


main(sys.argv[1:])
