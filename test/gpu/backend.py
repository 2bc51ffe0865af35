"""native/backend/backend.h for Python, by ctypes: for the benchmarks beside PyTorch."""
import ctypes as c

MEAN, DOTS, GRAM = 0, 1, 2
COMPUTE = 0
F32, F16, BF16 = 1, 2, 3  # native/kernels/dtype.h


class Failure(c.Structure):
    _fields_ = [("status", c.c_uint32), ("reserved", c.c_uint32), ("asked", c.c_uint64), ("free", c.c_uint64),
                ("message", c.c_char * 256)]


class Probe(c.Structure):
    _fields_ = [("status", c.c_uint32), ("device_count", c.c_int32), ("driver_version", c.c_int32),
                ("runtime_version", c.c_int32), ("matmul_version", c.c_uint64), ("message", c.c_char * 256),
                ("matmul_message", c.c_char * 256)]


class Input(c.Structure):
    _fields_ = [("data", c.c_uint64), ("dtype", c.c_uint32), ("reserved", c.c_uint32)]


class Tensor(c.Structure):
    _fields_ = [("elements", c.c_uint64), ("first_input", c.c_uint32), ("inputs", c.c_uint32), ("weights", c.c_int32),
                ("group", c.c_uint32), ("out", c.c_uint64), ("second", c.c_uint64), ("other", c.c_uint64),
                ("out_dtype", c.c_uint32), ("second_dtype", c.c_uint32), ("other_dtype", c.c_uint32),
                ("reserved", c.c_uint32)]


class Spec(c.Structure):
    _fields_ = [("size", c.c_uint32), ("operation", c.c_uint32), ("tensor_count", c.c_uint32),
                ("input_count", c.c_uint32), ("weight_count", c.c_uint32), ("group_count", c.c_uint32),
                ("tensors", c.POINTER(Tensor)), ("inputs", c.POINTER(Input)), ("weights", c.POINTER(c.c_double)),
                ("result", c.c_uint64)]


P, F, U32, U64 = c.c_void_p, c.POINTER(Failure), c.c_uint32, c.c_uint64


def function(result, *arguments):
    return c.CFUNCTYPE(result, *arguments)


class Table(c.Structure):
    """struct stockpot_backend, in its order."""
    _fields_ = [
        ("version", U32), ("size", U32), ("name", c.c_char_p),
        ("probe", function(None, c.POINTER(Probe))),
        ("device", P),
        ("open", function(c.c_int, U32, c.POINTER(P), F)),
        ("close", function(None, P)),
        ("synchronize", function(c.c_int, P, F)),
        ("memory", P), ("allocate", P), ("release", P), ("allocate_host", P), ("release_host", P),
        ("copy_in", P), ("copy_out", P), ("fill_zero", P),
        ("event_create", function(c.c_int, P, c.POINTER(P), F)),
        ("event_destroy", function(None, P, P)),
        ("event_record", function(c.c_int, P, P, U32, F)),
        ("event_wait", function(c.c_int, P, P, F)),
        ("stream_wait", P),
        ("event_elapsed", function(c.c_int, P, P, P, c.POINTER(c.c_double), F)),
        ("plan_create", function(c.c_int, P, c.POINTER(Spec), c.POINTER(P), F)),
        ("plan_run", function(c.c_int, P, P, c.POINTER(c.c_double), U32, F)),
        ("plan_destroy", function(None, P, P)),
    ]


class Backend:
    def __init__(self, path):
        entry = c.CDLL(path).stockpot_backend_v1
        entry.restype, entry.argtypes = c.c_void_p, [U32]
        self.table = Table.from_address(entry(1))
        self.probe = Probe()
        self.table.probe(c.byref(self.probe))
        self.context = None

    def call(self, name, *arguments):
        failure = Failure()
        if getattr(self.table, name)(*arguments, c.byref(failure)):
            raise RuntimeError(f"{name}: {failure.message.decode()}")

    def open(self, device=0):
        self.context = P()
        self.call("open", device, c.byref(self.context))
        self.events = [P(), P()]
        for e in self.events:
            self.call("event_create", self.context, c.byref(e))

    def plan(self, operation, tensors, inputs, weights, groups, result):
        """tensors: Tensor objects; inputs: (address, dtype) pairs."""
        keep = ((Tensor * len(tensors))(*tensors), (Input * len(inputs))(*[Input(a, d, 0) for a, d in inputs]),
                (c.c_double * max(1, len(weights)))(*weights))
        spec = Spec(c.sizeof(Spec), operation, len(tensors), len(inputs), len(weights), groups, *keep, result)
        plan = P()
        self.call("plan_create", self.context, c.byref(spec), c.byref(plan))
        return plan

    def seconds(self, plan):
        """Runs a plan and gives the time between two events around it."""
        first, last = self.events
        self.call("event_record", self.context, first, COMPUTE)
        self.call("plan_run", self.context, plan, None, COMPUTE)
        self.call("event_record", self.context, last, COMPUTE)
        self.call("event_wait", self.context, last)
        ms = c.c_double()
        self.call("event_elapsed", self.context, first, last, c.byref(ms))
        return ms.value / 1e3

    def destroy(self, plan):
        self.call("synchronize", self.context)
        self.table.plan_destroy(self.context, plan)
