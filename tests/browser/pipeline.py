"""`local` as a process: started on free ports, its page found in what it prints, ended by signals."""

import os
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request

PATIENCE_SECONDS = 60
PORTS = (
    "--events-port",
    "--events-admin-port",
    "--hoard-admin-port",
    "--syncomatic-admin-port",
    "--source-port",
    "--destination-port",
)


class Pipeline:
    """A running pipeline. Use it in a `with` statement."""

    def __init__(self, *more, admin="127.0.0.1:0", folder=None):
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="page-test-")
        self.folder = folder or self._temporary.name
        args = ["local", "--data-folder", self.folder, "--admin-listen", admin, "--flush-interval", "1s"]
        for port in PORTS:
            args += [port, "0"]
        self._process = subprocess.Popen(
            [*args, *more],
            executable=os.environ["LOCAL_BINARY"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("LOCAL_")},
        )
        self._lines = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self.printed(r"^ +page +(http://\S+)")
        self.printed(r"^ +try +curl")
        self.events_metrics = self.printed(r"metrics +(http://\S+) +events")

    def _read(self):
        for line in self._process.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._lines.append("(it ended)")
            self._news.notify_all()

    def printed(self, pattern):
        """Waits for a line that matches, and gives its first group or all of it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._news:
            while True:
                for line in self._lines:
                    match = re.search(pattern, line)
                    if match:
                        return match.group(1) if match.groups() else match.group(0)
                left = deadline - time.monotonic()
                if left <= 0 or self._lines[-1:] == ["(it ended)"]:
                    raise AssertionError(f"it never printed {pattern}:\n{''.join(self._lines)}")
                self._news.wait(left)

    def metric(self, url, name):
        """The sum of a metric over its labels."""
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{re.escape(name)}[ {{]", line))

    def pause(self):
        """Stops the process where it is, as a machine that hangs."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        """Lets it go on."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self):
        """Drains it."""
        if self._process.poll() is None:
            self.resume()
            self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(PATIENCE_SECONDS)
        self._reader.join()
        self._process.stdout.close()
        if self._temporary:
            self._temporary.cleanup()
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
