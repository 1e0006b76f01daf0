"""Let `site` process directories one by one, and tell of each what it executed, which paths it took, what stopped it.

Runs under every CPython from 3.6 on, with -I and -S. Arguments: the directory with the cases, and the file for the answers.
"""
import json
import os
import site
import sys

cases, answers = sys.argv[1:]
taken = []


def recording(makepath):
    def record(*parts):
        if len(parts) == 2:
            taken.append(parts[1])
        return makepath(*parts)

    return record


def possible(path):
    """Every name that a file can have exists, so that none is passed over for a reason that is not the startup file's."""
    try:
        return "\0" not in path and bool(os.fsencode(path))
    except UnicodeEncodeError:
        return False


os.path.exists = possible
site.makepath = recording(site.makepath)
clean = list(sys.path)
out = open(answers, "w")
for case in sorted(os.listdir(cases)):
    sys.seen = []
    del taken[:]
    sys.path[:] = clean
    refused = None
    try:
        site.addsitedir(os.path.join(cases, case))
    except Exception as problem:
        refused = type(problem).__name__
    paths = [os.fsencode(path).decode("latin-1") for path in taken if path and possible(path)]
    out.write(json.dumps({"case": case, "seen": sys.seen, "paths": paths, "refused": refused}) + "\n")
out.close()
