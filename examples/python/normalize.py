#!/usr/bin/env python3
"""RMS norm through the C ABI with nothing but ctypes.

usage: normalize.py PATH/libspearfish.so
"""
import ctypes
import math
import sys


class Device(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("index", ctypes.c_int32)]


class Tensor(ctypes.Structure):  # spf_tensor of spearfish/tensor.h
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("type", ctypes.c_int),
        ("packing", ctypes.c_int),
        ("device", Device),
        ("rank", ctypes.c_int32),
        ("data", ctypes.c_void_p),
        ("shape", ctypes.c_int64 * 6),
        ("stride", ctypes.c_int64 * 6),
    ]


class Launch(ctypes.Structure):  # spf_launch of spearfish/plan.h
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("device", Device),
        ("stream", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
        ("workspace_bytes", ctypes.c_size_t),
        ("options", ctypes.c_void_p),
        ("facts", ctypes.c_void_p),
        ("plan", ctypes.c_void_p),
    ]


class ErrorDetail(ctypes.Structure):  # spf_error_detail of spearfish/status.h
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("status", ctypes.c_int),
        ("device_code", ctypes.c_int32),
        ("op", ctypes.c_char_p),
        ("stage", ctypes.c_char_p),
        ("field", ctypes.c_char_p),
        ("value", ctypes.c_char_p),
        ("allowed", ctypes.c_char_p),
        ("message", ctypes.c_char_p),
    ]


SPF_F32 = 1
CPU = Device(0, 0)


class Spearfish:
    def __init__(self, path):
        self.lib = ctypes.CDLL(path)
        self.lib.spf_version_string.restype = ctypes.c_char_p
        tensor, device = ctypes.POINTER(Tensor), Device
        self.lib.spf_tensor_init.argtypes = [
            tensor, ctypes.c_void_p, ctypes.c_int, ctypes.c_int32, ctypes.POINTER(ctypes.c_int64), device]
        self.lib.spf_launch_init.argtypes = [ctypes.POINTER(Launch), device]
        self.lib.spf_rms_norm.argtypes = [
            tensor, tensor, tensor, ctypes.c_double, ctypes.c_int32, ctypes.POINTER(Launch)]

    def check(self, status):
        if status != 0:
            detail = ErrorDetail(struct_size=ctypes.sizeof(ErrorDetail))
            self.lib.spf_last_error(ctypes.byref(detail))
            raise ValueError(detail.message.decode())

    def tensor(self, values, *shape):
        """A view over a ctypes array of f32, C order."""
        view = Tensor()
        extents = (ctypes.c_int64 * len(shape))(*shape)
        self.check(self.lib.spf_tensor_init(ctypes.byref(view), ctypes.addressof(values), SPF_F32, len(shape), extents, CPU))
        return view

    def rms_norm(self, x, weight, out, epsilon):
        launch = Launch()
        self.check(self.lib.spf_launch_init(ctypes.byref(launch), CPU))
        self.check(self.lib.spf_rms_norm(x, weight, out, epsilon, 0, ctypes.byref(launch)))


def main():
    rows, h = 3, 8
    spearfish = Spearfish(sys.argv[1])
    print(spearfish.lib.spf_version_string().decode())
    x = (ctypes.c_float * (rows * h))(*[i % 5 - 1.5 for i in range(rows * h)])
    weight = (ctypes.c_float * h)(*[1 + i / 8 for i in range(h)])
    out = (ctypes.c_float * (rows * h))()
    spearfish.rms_norm(spearfish.tensor(x, rows, h), spearfish.tensor(weight, h), spearfish.tensor(out, rows, h), 1e-6)

    worst = 0.0
    for r in range(rows):
        row = x[r * h:(r + 1) * h]
        scale = 1 / math.sqrt(sum(v * v for v in row) / h + 1e-6)
        worst = max([worst] + [abs(v * scale * w - o) for v, w, o in zip(row, weight, out[r * h:(r + 1) * h])])
    print(f"largest error against doubles: {worst:.1e}")

    try:
        spearfish.rms_norm(spearfish.tensor(x, rows, h), spearfish.tensor(weight, h - 1), spearfish.tensor(out, rows, h), 1e-6)
    except ValueError as error:
        print("a wrong call is refused:", error)
    else:
        return 1
    return 0 if worst < 1e-5 else 1


if __name__ == "__main__":
    sys.exit(main())
