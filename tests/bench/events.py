"""Writes N events of the Elastic Common Schema, always the same ones, to standard output.

A mix as hosts have it: programs that write logs, caches and temporary files; one event of a thousand is that of a startup
file, most of them an installer's. A hundred thousand are made, and repeated: nobody who judges one by one gains by it.
"""

import json
import random
import sys

BLOCK = 100_000
WRITERS = [
    ("/usr/sbin/rsyslogd", ["rsyslogd", "-n"], "/var/log/syslog.{}"),
    ("/usr/lib/systemd/systemd-journald", ["systemd-journald"], "/var/log/journal/4d5e/system@{}.journal"),
    ("/usr/lib/postgresql/15/bin/postgres", ["postgres", "-D", "/var/lib/postgresql"], "/var/lib/postgresql/15/base/{}"),
    ("/usr/bin/node", ["node", "build.js"], "/srv/web/node_modules/.cache/{}.json"),
    ("/usr/bin/python3.11", ["python3", "-m", "pip", "install", "x"], "/usr/local/lib/python3.11/dist-packages/m/f{}.py"),
    ("/usr/bin/python3.11", ["python3", "/srv/app/run.py"], "/srv/app/lib/python3.11/site-packages/__pycache__/f{}.pyc"),
    ("/usr/bin/git", ["git", "fetch"], "/home/u/src/.git/objects/{}"),
    ("/usr/bin/gcc", ["gcc", "-c", "x.c"], "/tmp/cc{}.s"),
]
STARTUP = [
    ("/usr/bin/python3.11", ["/usr/bin/python3.11", "/usr/bin/pip", "install", "x"], "/usr/local/lib/python3.11/dist-packages/{}.pth"),
    ("/usr/bin/dpkg", ["dpkg", "--unpack", "x.deb"], "/usr/lib/python3/dist-packages/{}.pth"),
    ("/usr/bin/bash", ["bash", "-c", "echo"], "/usr/lib/python3/dist-packages/{}.pth"),
    ("/usr/bin/python3.11", ["python3", "/tmp/update.py"], "/opt/app/lib/python3.11/site-packages/{}.pth"),
]
ACTIONS = ["creation", "creation", "modification", "rename", "deletion"]


def event(at, chance):
    is_startup = at % 1000 == 500
    exe, args, path = chance.choice(STARTUP if is_startup else WRITERS)
    path = path.format(chance.randrange(1 << 32))
    name = path.rsplit("/", 1)[1]
    action = "creation" if is_startup else chance.choice(ACTIONS)
    uid = "0" if is_startup else str(chance.choice([0, 33, 1000]))
    return {
        "@timestamp": f"2026-05-04T10:{at // 60 % 60:02}:{at % 60:02}.000Z",
        "agent": {"id": "c0ffee00-1234", "type": "endpoint", "version": "8.15.1"},
        "event": {"kind": "event", "category": ["file"], "type": ["change"], "action": action, "sequence": at},
        "file": {"path": path, "name": name, "extension": name.rpartition(".")[2]},
        "process": {"pid": 100 + at % 30000, "name": exe.rsplit("/", 1)[1], "executable": exe, "args": args},
        "host": {"hostname": f"web{at % 9}", "os": {"type": "linux", "family": "debian", "kernel": "6.1"}},
        "user": {"id": uid},
    }


def main():
    wanted = int(sys.argv[1])
    chance = random.Random(1)
    lines = [json.dumps(event(at, chance), separators=(",", ":")) + "\n" for at in range(min(BLOCK, wanted))]
    block = "".join(lines).encode()
    for _ in range(wanted // BLOCK):
        sys.stdout.buffer.write(block)
    sys.stdout.buffer.write("".join(lines[: wanted % BLOCK]).encode())


main()
