"""Rivals at work in a process of their own, so that one which crashes, or leaves the GPU's context broken, ends only itself.

A worker reads a job as JSON and writes a line of JSON for each event. Before it lets a rival do anything it says so
({"begin": NAME}, or null for its own work); so when it dies, the last such line names the culprit, which is struck off, and
another worker goes on with what is left. No torch here.
"""

import json
import signal
import subprocess
import threading


def ended(code):
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:
        return f"died of signal {-code}"


def work(command, job, names, on_event, patience=1800):
    """Runs `job` for the rivals `names` (a worker finds those who are left in its job's "rivals"), and hands each event but
    "begin" to `on_event`, which returns the job that is left. Returns {name: why it was struck off}.

    patience: seconds without an event after which a rival is struck off; a first build of kernels can take many minutes.
    Raises RuntimeError where a worker ends badly while no rival is at work: striking one off would not help.
    """
    struck = {}
    while left := [name for name in names if name not in struck]:
        ending = Worker(command, {**job, "rivals": left}, patience)
        for event in ending.events():
            job = on_event(event)
        if not ending.reason:
            break
        if ending.at_work is None:
            raise RuntimeError(f"the worker {ending.reason} while no rival was at work")
        struck[ending.at_work] = f"its process {ending.reason}; struck off"
    return struck


class Worker:
    """One worker process: what it says, who was at work last, and why it ended badly, if it did."""

    def __init__(self, command, job, patience):
        self.command, self.job, self.patience = command, job, patience
        self.at_work = self.reason = None

    def events(self):
        with subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            process.stdin.write(json.dumps(self.job))
            process.stdin.close()
            for line in self.lines(process):
                event = json.loads(line)
                if "begin" in event:
                    self.at_work = event["begin"]
                elif "lost" in event:
                    self.reason = f"lost the GPU's context: {event['lost']}"
                else:
                    yield event
        if process.returncode and not self.reason:
            self.reason = ended(process.returncode)

    def lines(self, process):
        def kill():
            self.reason = f"said nothing for {self.patience} s"
            process.kill()

        while True:
            timer = threading.Timer(self.patience, kill)
            timer.start()
            line = process.stdout.readline()
            timer.cancel()
            if not line:
                return
            yield line
