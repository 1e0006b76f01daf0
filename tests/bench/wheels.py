"""Writes wheels of ten small modules each into a directory: python3 wheels.py NAME COUNT DIRECTORY.

One of them brings a startup file that runs nothing, as one package in twenty would be much.
"""

import sys
import zipfile

MODULE = "".join(f"def f{number}(x):\n    return x + {number}\n\n\n" for number in range(40))


def wheel(name, directory, startup):
    info = f"{name}-1.0.dist-info"
    files = {f"{name}/m{number}.py": MODULE for number in range(9)}
    files[f"{name}/__init__.py"] = ""
    if startup:
        files[f"{name}.pth"] = "# nothing\n"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in files) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(f"{directory}/{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(path, text)


name, count, directory = sys.argv[1:]
for number in range(int(count)):
    wheel(f"{name}{number}", directory, startup=number == 0)
