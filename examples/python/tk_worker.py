# SPDX-License-Identifier: GPL-2.0-only
"""A worker on Tk's own thread: other threads queue, and what touches a widget runs where it may."""

import os
import sys
import threading

import pykworker as kw

try:
    import tkinter

    root = tkinter.Tk()
except ModuleNotFoundError:
    print("tkinter is not installed")
    sys.exit(os.environ.get("REQUIRE_TOOLS") == "1")
except tkinter.TclError as error:
    print(f"Tk has no display: {error}")
    sys.exit(os.environ.get("REQUIRE_TOOLS") == "1")

label = tkinter.Label(root, text="no reading yet", width=40)
label.pack()

worker = kw.Worker("tk", start=False)
# No polling: Tk's loop sleeps until the worker has something to run.
root.tk.createfilehandler(worker.fileno(), tkinter.READABLE, lambda *_: worker.run_pending())

latest = 0
redraws: list[int] = []


@worker.work
def redraw() -> None:
    """However many readings came since the last time: one redraw, with the latest."""
    assert threading.current_thread() is threading.main_thread()
    label["text"] = f"reading {latest}"
    redraws.append(latest)


def measure() -> None:
    global latest
    for value in range(1, 1001):
        latest = value
        redraw.queue()
    worker.queue(kw.Work(root.quit))


thread = threading.Thread(target=measure)
root.after(0, thread.start)
root.mainloop()
thread.join()

assert redraws[-1] == 1000
assert label["text"] == "reading 1000"
print(f"1000 readings, the last one shown, {'fewer' if len(redraws) < 1000 else 'as many'} redraws")

root.tk.deletefilehandler(worker.fileno())
worker.destroy()
root.destroy()
