# SPDX-License-Identifier: GPL-2.0-only
"""Print a C program that prints the layout of every struct in the public headers.

python3 layout.py src/kthread.h src/kthread_worker.h >layout.c
"""

import re
import sys


def members(body: str) -> list[str]:
    """The names declared in a struct's body."""
    names = []
    for declaration in re.sub(r"/\*.*?\*/", "", body, flags=re.S).split(";"):
        text = " ".join(declaration.split())
        if not text:
            continue
        if pointer := re.search(r"\(\*(\w+)\)", text):  # to a function
            names.append(pointer[1])
            continue
        text = re.sub(r"\[[^]]*\]", "", text)
        names += [re.findall(r"\w+", part)[-1] for part in text.split(",")]
    return names


def main() -> None:
    print('#include <stddef.h>\n#include <stdio.h>\n#include "kthread_worker.h"\nint main(void)\n{')
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            header = file.read()
        for name, body in re.findall(r"^struct (\w+) \{\n(.*?)^\};", header, flags=re.S | re.M):
            struct = f"struct {name}"
            print(f'printf("{struct}: %zu\\n", sizeof({struct}));')
            for member in members(body):
                print(
                    f'printf("\\t%4zu %3zu {member}\\n", offsetof({struct}, {member}), '
                    f"sizeof((({struct} *)0)->{member}));"
                )
    print("return 0;\n}")


if __name__ == "__main__":
    main()
