# SPDX-License-Identifier: Apache-2.0
"""Compares what larder tells of the files in an image with a folder into which another tool unpacked it: the list, with
types, modes, owners, times, links, devices and extended attributes, and each file's bytes: all of them, and those at a
random place. Arguments: the admin API's socket, the image, the folder, and "layer" when that is one layer unpacked by
tar, whiteouts and all."""
import http.client
import json
import os
import random
import socket
import stat
import sys
import threading
import urllib.parse

ADMIN, IMAGE, ROOT = sys.argv[1:4]
IS_LAYER = sys.argv[4:] == ["layer"]
READ_MAX = 65536
READERS = 2
TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
         stat.S_IFCHR: "char device", stat.S_IFBLK: "block device"}


class Admin(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(ADMIN)

    def ask(self, route, path=b"/", more="", headers=None):
        self.request("GET", f"/api/v1/{route}?ref={IMAGE}&path={urllib.parse.quote_from_bytes(path, safe='')}{more}",
                     headers=headers or {})
        answer = self.getresponse()
        data = answer.read()
        if answer.status not in (200, 206):
            raise OSError(f"{route} {path!r}: {answer.status} {data!r}")
        return data


def name(file, key):
    """JSON cannot say bytes that are not UTF-8."""
    escaped = file.get(key + "_escaped")
    return urllib.parse.unquote_to_bytes(escaped) if escaped else file.get(key, "").encode()


def told(file):
    """What larder tells of a file, in the words of below."""
    is_plain = file["type"] == "file"
    return (file["type"], None if file["type"] == "symlink" else file["mode"], file["uid"], file["gid"],
            file["size"] if is_plain else 0, name(file, "target"), tuple(file.get("device", ())),
            None if file["type"] == "directory" else file["mtime"],
            {key: bytes.fromhex(value[2:]) for key, value in file.get("xattrs", {}).items()})


def unpacked(path):
    """What the folder says of it. A folder's time changes with what is put into it."""
    found = os.lstat(path)
    kind = TYPES[stat.S_IFMT(found.st_mode)]
    return (kind, None if kind == "symlink" else f"{stat.S_IMODE(found.st_mode):04o}", found.st_uid, found.st_gid,
            found.st_size if kind == "file" else 0, os.readlink(path) if kind == "symlink" else b"",
            (os.major(found.st_rdev), os.minor(found.st_rdev)) if kind.endswith("device") else (),
            None if kind == "directory" else int(found.st_mtime),
            {key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)})


def walk(root):
    """All paths below the folder. A layer's whiteouts are no files to those who look into an image."""
    for folder, folders, files in os.walk(root):
        for entry in folders + files:
            if not (IS_LAYER and entry.startswith(b".wh.")):
                yield os.path.join(folder, entry)[len(root):]


class Reader(threading.Thread):
    """Reads each file that it is given at a random place, and then the whole."""
    def __init__(self, paths):
        super().__init__()
        self.paths, self.wrong, self.bytes = paths, [], 0

    def run(self):
        admin, dice = Admin("larder"), random.Random(1)
        for path in self.paths:
            with open(ROOT.encode() + path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                start = dice.randrange(size) if size else 0
                try:
                    part = size and admin.ask("file", path, headers={"Range": f"bytes={start}-{start + READ_MAX - 1}"})
                    whole = admin.ask("file", path)
                except OSError as error:
                    self.wrong.append(f"{path!r}: {error}")
                    admin.close()
                    continue
                if size and part != os.pread(file.fileno(), READ_MAX, start):
                    self.wrong.append(f"{path!r}: other bytes at {start}")
                if whole != file.read():
                    self.wrong.append(f"{path!r}: other bytes")
                self.bytes += len(whole)


def main():
    files = {name(file, "path"): file for file in json.loads(Admin("larder").ask("files", more="&recursive=1"))["files"]}
    root = ROOT.encode()
    paths = set(walk(root))
    wrong = [f"{path!r} is not in the folder" for path in files if path not in paths]
    wrong += [f"{path!r} is not told of" for path in paths if path not in files]
    for path in sorted(paths & set(files)):
        if told(files[path]) != unpacked(root + path):
            wrong.append(f"{path!r}: larder says {told(files[path])}, the folder {unpacked(root + path)}")
    plain = sorted(path for path, file in files.items() if file["type"] == "file" and path in paths)
    random.Random(1).shuffle(plain)
    readers = [Reader(plain[i::READERS]) for i in range(READERS)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
        wrong += reader.wrong
    for line in wrong[:20]:
        print(line, file=sys.stderr)
    if wrong or not plain:
        sys.exit(f"{len(wrong)} things differ, of {len(files)}")
    compared = sum(reader.bytes for reader in readers)
    print(f"{len(files)} entries are the same; {len(plain)} files, {compared} bytes, whole and from a random place")


main()
