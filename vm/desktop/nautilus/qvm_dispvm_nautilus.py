"""Open and view files in a disposable, from the context menu of Nautilus (nautilus-python, API 3.0, 4.0 and later)."""

# No gi.require_version: nautilus-python has loaded the version that fits its Nautilus.
from gi.repository import GLib, GObject, Nautilus

PROGRAM = "/usr/bin/qvm-open-in-dvm"


def local_uri(file):
    """The file:// URL of what can be opened, else None.

    URLs, not paths: the program decodes them byte by byte, so names that are no UTF-8 arrive as they are.
    """
    if file.is_gone() or file.is_directory():
        return None
    # An item of recent:// only points to the file.
    uri = file.get_activation_uri() if file.get_uri_scheme() == "recent" else file.get_uri()
    return uri if uri and uri.startswith("file:///") else None


class DisposableMenu(GObject.GObject, Nautilus.MenuProvider):
    """Two entries for any selection with at least one local file."""

    def get_file_items(self, *arguments):
        # API 3.0 passes window and files, 4.0 only the files.
        uris = [uri for uri in map(local_uri, arguments[-1]) if uri]
        # What is gone meanwhile is left out. A directory or a remote file is not: then no entry is offered.
        present = [file for file in arguments[-1] if not file.is_gone()]
        if not uris or len(uris) < len(present):
            return []
        return [
            self._item("Open", "What is changed there comes back", [], uris),
            self._item("View", "Nothing comes back", ["--view-only"], uris),
        ]

    def get_background_items(self, *_arguments):
        # Older versions warn when it is missing.
        return []

    def _item(self, verb, tip, options, uris):
        item = Nautilus.MenuItem(
            name=f"DisposableMenu::{verb}InDisposable",
            label=f"{verb} in disposable",
            tip=f"In a fresh disposable qube. {tip}",
        )
        item.connect("activate", self._start, [PROGRAM, *options, "--", *uris])
        return item

    @staticmethod
    def _start(_item, words):
        # Not waited for: Nautilus would stand still until the disposable ends. GLib reaps the child.
        GLib.spawn_async(words, flags=GLib.SpawnFlags.STDOUT_TO_DEV_NULL)
