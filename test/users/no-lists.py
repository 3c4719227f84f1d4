"""no-lists.py CMD... - runs CMD as if its file systems had no access control lists: fsetxattr fails with EOPNOTSUPP."""
import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
FSETXATTR = 190 if os.uname().machine == "x86_64" else 7

filters = [(LOAD, 0, 0, 0), (IF_EQUAL, 0, 1, FSETXATTR), (RETURN, 0, 0, ERRNO | errno.EOPNOTSUPP), (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *f) for f in filters))


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


libc = ctypes.CDLL(None, use_errno=True)
program = Program(len(filters), ctypes.addressof(code))
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)):
    sys.exit(77)
os.execvp(sys.argv[1], sys.argv[1:])
