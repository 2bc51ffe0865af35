#!/usr/bin/env python3
"""What must hold of libstockpot-cuda.so on any machine, with or without a driver.

    python3 scripts/check_cuda_library.py LIBRARY [ARCHITECTURE ...]

It exports the C interface and nothing else, needs nothing but the C library (no driver, no CUDA), loads, says clearly
what it finds here, and has code for the architectures named (90a …).
"""
import ctypes
import re
import subprocess
import sys

library, architectures = sys.argv[1], sys.argv[2:]


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


exported = [line.split()[-1] for line in output("nm", "-D", "--defined-only", library).splitlines()]
assert exported == ["stockpot_backend_v1"], f"exports {exported}"

needed = re.findall(r"NEEDED\s+(\S+)", output("objdump", "-p", library))
allowed = re.compile(r"(lib(c|m|dl|rt|pthread)|ld-linux.*)\.so\.\d+$")
assert all(allowed.match(n) for n in needed), f"needs {needed}"

handle = ctypes.CDLL(library)
entry = handle.stockpot_backend_v1
entry.restype, entry.argtypes = ctypes.c_void_p, [ctypes.c_uint32]
assert entry(0) is None and entry(2) is None, "gives a table for a version that it is not"
table = entry(1)
assert table, "gives no table for its own version"


class Head(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("size", ctypes.c_uint32), ("name", ctypes.c_char_p),
                ("probe", ctypes.c_void_p)]


class Probe(ctypes.Structure):
    _fields_ = [("status", ctypes.c_uint32), ("device_count", ctypes.c_int32), ("driver_version", ctypes.c_int32),
                ("runtime_version", ctypes.c_int32), ("matmul_version", ctypes.c_uint64),
                ("message", ctypes.c_char * 256), ("matmul_message", ctypes.c_char * 256)]


head = Head.from_address(table)
assert head.version == 1 and head.name == b"cuda", "is another backend"
found = Probe()
ctypes.CFUNCTYPE(None, ctypes.POINTER(Probe))(head.probe)(ctypes.byref(found))
assert found.runtime_version >= 13000, found.runtime_version
print(f"status {found.status}, {found.device_count} devices: {found.message.decode() or 'ok'}")
assert (found.status == 0) == (found.device_count > 0) == (not found.message), "status and message disagree"

# nvcc names each piece of code in the library by its architecture, in the headers of its ELF images.
blob = open(library, "rb").read()
for a in architectures:
    number = int(re.match(r"\d+", a).group())
    # e_flags of a CUDA ELF image (e_machine 190): bits 8 and up hold the architecture.
    images = [m.start() for m in re.finditer(rb"\x7fELF\x02\x01[\x00-\xff]{10}", blob)]
    flags = {int.from_bytes(blob[i + 48:i + 52], "little") for i in images
             if int.from_bytes(blob[i + 18:i + 20], "little") == 190}
    assert any(number in (f >> 8 & 0xFF, f & 0xFF) for f in flags), f"no code for sm_{a}: {[hex(f) for f in flags]}"
print(f"{library}: exports {exported[0]}, needs {', '.join(needed)}")
