#!/usr/bin/python3
"""write-limits.py - what write(2) to a limit under /proc/sys/kernel takes, says and sets

    unshare --ipc /usr/bin/python3 write-limits.py >write-limits.expected      (as root)
    vee run -- /usr/bin/python3 write-limits.py write-limits.expected

Prints a line a case; with a file, compares them with its lines instead. The file in the tree is that of Linux 6.18.
"""
import difflib
import errno
import os
import sys

DIR = "/proc/sys/kernel/"
BEFORE = {"sem": b"32000 1024000000 500 32000", "shmmni": b"4096", "shmmax": b"18446744073692774399",
          "shm_rmid_forced": b"0", "shm_next_id": b"5", "msgmax": b"8192"}

ONE = [b"100", b"100\n", b" 100 ", b"\t\v100\n\n", b"0x10", b"0X1F", b"010", b"08", b"0x", b"+5", b"-5", b"- 5", b"-", b"-0",
       b"", b"\n", b" ", b"abc", b"100abc", b"100 abc", b"100 200", b"1 2 3 4 5", b"100\0", b"\0", b"1,2", b"1.5",
       b"100\r\n", b"100\x0b", b"0", b"1", b"2", b"32768", b"32769", b"2147483647", b"2147483648", b"-2147483648",
       b"-2147483649", b"4294967296", b"18446744073709551615", b"18446744073709551616", b"9" * 30,
       b"0" * 19 + b"1", b"0" * 20 + b"1", b" " * 5000 + b"7", b"7" + b" " * 5000, b"7" + b" " * 4094 + b"8"]
FOUR = [b"1 2 3 4", b"1\t2\t3\t4\n", b"1\n2\n3\n4\n", b"1  2", b"1 2", b"1 2 3 40000", b"1 2 3 -1", b"1 2 3 4 5",
        b"1 2 abc", b"1 2 3 4 abc", b"1 2 3 4x", b"1 2x 3 4", b"-1 -2 -3 4", b"1 2 3 99999999999",
        b"1 99999999999 3 4", b"1 2 3 32768", b"1 2 3 32769", b"1 2\0 3"]


said = []


def say(*words):
    said.append(" ".join(map(str, words)) + "\n")


def read(name):
    with open(DIR + name, "rb") as file:
        return file.read()


def short(text):
    return repr(text) if len(text) < 80 else f"{len(text)} bytes"


def attempt(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def case(name, *texts):
    fd = os.open(DIR + name, os.O_WRONLY | os.O_TRUNC)
    os.write(fd, BEFORE[name])
    os.close(fd)
    fd = os.open(DIR + name, os.O_WRONLY | os.O_CREAT)
    results = [attempt(os.write, fd, text) for text in texts]
    at = os.lseek(fd, 0, os.SEEK_CUR)
    os.close(fd)
    say(name, *map(short, texts), *results, "at", at, read(name))


def main():
    for name in BEFORE:
        for text in ONE:
            case(name, text)
        for texts in [(b"10", b"20"), (b"1", b"0\n"), (b"abc", b"20"), (b"", b"20"), (b"10", b"x")]:
            case(name, *texts)
    for text in FOUR:
        case("sem", text)
    say("exclusive", attempt(os.open, DIR + "shmmni", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    say("a folder", attempt(os.open, DIR + "shmmni", os.O_RDONLY | os.O_DIRECTORY))
    if len(sys.argv) < 2:
        sys.stdout.writelines(said)
        return 0
    with open(sys.argv[1], encoding="ascii") as file:
        wrong = list(difflib.unified_diff(file.readlines(), said, "on the kernel", "here", n=0))
    sys.stdout.writelines(wrong)
    return 1 if wrong else 0


sys.exit(main())
