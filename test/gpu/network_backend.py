"""Networks of native/backend/backend.h for Python: graphs as lib/models builds them, of the shapes that are timed."""
import ctypes as c

from backend import BF16, COMPUTE, F16, F32, MEAN, P, U32, U64, Backend, Failure, Table, Tensor, function

NUMBERS = {"f32": 0, "bf16": 1, "f16": 2}
KINDS = ["patches", "embedding", "add_rows", "add_row", "add", "prepend_row", "linear", "layer_norm", "rms_norm", "attention",
         "select_row", "select_row_by_id", "mean_rows", "l2_normalize", "scale", "similarity", "log_likelihood"]
ACTIVATIONS = ["none", "gelu", "gelu_tanh", "quick_gelu", "relu", "tanh", "silu"]


class Op(c.Structure):
    _fields_ = [("kind", U32)] + [(n, c.c_int32) for n in ("out", "x", "y", "z", "input", "weight", "bias", "scale_weight")] + \
        [("activation", U32), ("transposed", U32), ("number", c.c_float), ("number_count", U32), ("first_bucket", U32),
         ("bucket_count", U32), ("reserved", U32), ("numbers", c.c_int64 * 8)]


class GraphInput(c.Structure):
    _fields_ = [("elements", U64), ("integers", U32), ("shared", U32)]


class GraphWeight(c.Structure):
    _fields_ = [("dimensions", U32), ("reserved", U32), ("shape", U64 * 8)]


class GraphValue(c.Structure):
    _fields_ = [("rows", U64), ("columns", U64)]


class NetworkSpec(c.Structure):
    _fields_ = [("size", U32), ("number", U32), ("largest_batch", U32), ("training", U32), ("activation_bytes", U64)] + \
        [(n, U32) for n in ("input_count", "weight_count", "value_count", "op_count", "bucket_count")] + \
        [("output", c.c_int32), ("inputs", c.POINTER(GraphInput)), ("weights", c.POINTER(GraphWeight)),
         ("values", c.POINTER(GraphValue)), ("ops", c.POINTER(Op)), ("buckets", c.POINTER(c.c_int32))]


class NetworkSizes(c.Structure):
    _fields_ = [(n, U64) for n in ("weights", "activations", "gradients", "scratch")] + [("segments", U32), ("reserved", U32)]


class NetworkInput(c.Structure):
    _fields_ = [("data", U64), ("bytes", U32), ("factor", c.c_float), ("mean", c.c_float * 4), ("deviation", c.c_float * 4)]


F = c.POINTER(Failure)


class NetworkTable(c.Structure):
    """struct stockpot_backend up to the networks."""
    _fields_ = Table._fields_ + [
        ("network_plan", function(c.c_int, P, c.POINTER(NetworkSpec), c.POINTER(NetworkSizes), F)),
        ("network_create", function(c.c_int, P, c.POINTER(NetworkSpec), c.POINTER(P), F)),
        ("network_destroy", function(None, P, P)),
        ("network_weight", function(c.c_int, P, P, U32, c.POINTER(U64), c.POINTER(U32), F)),
        ("network_gradient", function(c.c_int, P, P, U32, c.POINTER(U64), F)),
        ("network_input_gradient", function(c.c_int, P, P, U32, c.POINTER(U64), F)),
        ("network_forward", function(c.c_int, P, P, c.POINTER(NetworkInput), U32, U64, U32, F)),
        ("network_backward", function(c.c_int, P, P, c.POINTER(NetworkInput), U32, U64, U32, F)),
        ("network_zero_gradients", function(c.c_int, P, P, U32, F)),
    ]


class Graph:
    """Builds a graph operation by operation; a value is its position. `weights` are (name, shape) in order."""

    def __init__(self):
        self.inputs, self.weights, self.values, self.ops, self.known = [], [], [], [], {}

    def input(self, elements, integers=False):
        self.inputs.append(GraphInput(elements, int(integers), 0))
        return len(self.inputs) - 1

    def weight(self, name, *shape):
        if name is None:
            return -1
        if name not in self.known:
            self.known[name] = len(self.weights)
            self.weights.append((name, shape))
        return self.known[name]

    def op(self, kind, rows, columns, numbers=(), activation="none", **fields):
        op = Op(kind=KINDS.index(kind), activation=ACTIVATIONS.index(activation), number_count=len(numbers))
        for name in ("x", "y", "z", "input", "weight", "bias", "scale_weight"):
            setattr(op, name, fields.pop(name, -1))
        op.numbers[: len(numbers)] = numbers
        op.number = fields.pop("number", 0)
        assert not fields, fields
        op.out = len(self.values)
        self.values.append(GraphValue(rows, columns))
        self.ops.append(op)
        return op.out

    def shape(self, v):
        return self.values[v].rows, self.values[v].columns

    def linear(self, x, columns, name, activation="none", residual=-1, weight_shape=None):
        rows, depth = self.shape(x)
        return self.op("linear", rows, columns, x=x, z=residual, activation=activation,
                       weight=self.weight(name + ".weight", *(weight_shape or (columns, depth))),
                       bias=self.weight(name + ".bias", columns))

    def layer_norm(self, x, name, epsilon=1e-6):
        rows, columns = self.shape(x)
        return self.op("layer_norm", rows, columns, x=x, number=epsilon, weight=self.weight(name + ".weight", columns),
                       bias=self.weight(name + ".bias", columns))

    def attention(self, qkv, heads, mask=-1):
        rows, columns = self.shape(qkv)
        width = columns // 3 // heads
        return self.op("attention", rows, columns // 3, [0, columns // 3, columns // 3 * 2, heads, width, 1, 0, 0], x=qkv,
                       y=qkv, z=qkv, input=mask, number=width ** -0.5)


def vit(size, patch, width, depth, heads, hidden, classes=1000):
    """timm's vision_transformer with a class token; names are those of its state_dict."""
    g, n = Graph(), (size // patch) ** 2
    image = g.input(3 * size * size)
    x = g.op("patches", n, 3 * patch * patch, [3, size, size, patch], input=image)
    x = g.linear(x, width, "patch_embed.proj", weight_shape=(width, 3, patch, patch))
    x = g.op("prepend_row", n + 1, width, x=x, weight=g.weight("cls_token", 1, 1, width))
    x = g.op("add_rows", n + 1, width, [0], x=x, weight=g.weight("pos_embed", 1, n + 1, width))
    for i in range(depth):
        b = f"blocks.{i}."
        a = g.attention(g.linear(g.layer_norm(x, b + "norm1"), 3 * width, b + "attn.qkv"), heads)
        x = g.linear(a, width, b + "attn.proj", residual=x)
        h = g.linear(g.layer_norm(x, b + "norm2"), hidden, b + "mlp.fc1", "gelu")
        x = g.linear(h, width, b + "mlp.fc2", residual=x)
    x = g.layer_norm(g.op("select_row", 1, width, [0], x=x), "norm")
    g.linear(x, classes, "head")
    return g


def bert(length, width=768, depth=12, heads=12, hidden=3072, vocabulary=30522, classes=2):
    """BERT with a mask, a pooler and a classifier; names are those of bench's own module."""
    g = Graph()
    ids, mask = g.input(length, True), g.input(length, True)
    x = g.op("embedding", length, width, [0], input=ids, weight=g.weight("words.weight", vocabulary, width))
    x = g.op("add_rows", length, width, [0], x=x, weight=g.weight("positions", length, width))
    x = g.layer_norm(x, "norm", 1e-12)
    for i in range(depth):
        b = f"blocks.{i}."
        a = g.attention(g.linear(x, 3 * width, b + "qkv"), heads, mask)
        x = g.layer_norm(g.linear(a, width, b + "proj", residual=x), b + "norm1", 1e-12)
        h = g.linear(x, hidden, b + "fc1", "gelu")
        x = g.layer_norm(g.linear(h, width, b + "fc2", residual=x), b + "norm2", 1e-12)
    x = g.linear(g.op("select_row", 1, width, [0], x=x), width, "pooler", "tanh")
    g.linear(x, classes, "head")
    return g


class NetworkBackend(Backend):
    def __init__(self, path):
        super().__init__(path)
        if self.table.size < c.sizeof(NetworkTable):
            raise RuntimeError(f"{path} has no networks")
        self.table = NetworkTable.from_address(c.addressof(self.table))

    def network(self, graph, number, batch, training=False, activation_bytes=0):
        return Network(self, graph, number, batch, training, activation_bytes)


class Network:
    def __init__(self, backend, graph, number, batch, training, activation_bytes):
        self.b, self.graph, self.handle = backend, graph, P()
        weights = [GraphWeight(len(s), 0, (U64 * 8)(*s)) for _, s in graph.weights]

        def table(of, items):
            return (of * max(1, len(items)))(*items)

        self.spec = NetworkSpec(c.sizeof(NetworkSpec), NUMBERS[number], batch, int(training), activation_bytes,
                                len(graph.inputs), len(weights), len(graph.values), len(graph.ops), 0, len(graph.values) - 1,
                                table(GraphInput, graph.inputs), table(GraphWeight, weights), table(GraphValue, graph.values),
                                table(Op, graph.ops), None)
        self.sizes = NetworkSizes()
        backend.call("network_plan", backend.context, c.byref(self.spec), c.byref(self.sizes))
        backend.call("network_create", backend.context, c.byref(self.spec), c.byref(self.handle))

    def where(self, i):
        address, dtype = U64(), U32()
        self.b.call("network_weight", self.b.context, self.handle, i, c.byref(address), c.byref(dtype))
        return address.value, dtype.value

    def gradient(self, i):
        address = U64()
        self.b.call("network_gradient", self.b.context, self.handle, i, c.byref(address))
        return address.value

    def mix(self, ingredients, dtype=F32):
        """Makes the weights the mean of state_dicts {name: address} of one type: what a recipe does for a candidate."""
        tensors, inputs = [], []
        for i, (name, shape) in enumerate(self.graph.weights):
            out, kind = self.where(i)
            elements = 1
            for s in shape:
                elements *= s
            tensors.append(Tensor(elements=elements, first_input=len(inputs), inputs=len(ingredients), weights=-1, out=out,
                                  out_dtype=kind))
            inputs += [(s[name], dtype) for s in ingredients]
        return tensors, inputs

    def inputs(self, addresses):
        one = [NetworkInput(a, 0, 1.0, (c.c_float * 4)(), (c.c_float * 4)(1, 1, 1, 1)) for a in addresses]
        return (NetworkInput * len(one))(*one)

    def forward(self, inputs, batch, out):
        self.b.call("network_forward", self.b.context, self.handle, inputs, batch, out, COMPUTE)

    def backward(self, inputs, batch, dout):
        self.b.call("network_backward", self.b.context, self.handle, inputs, batch, dout, COMPUTE)

    def zero(self):
        self.b.call("network_zero_gradients", self.b.context, self.handle, COMPUTE)

    def seconds(self, work):
        first, last = self.b.events
        self.b.call("event_record", self.b.context, first, COMPUTE)
        work()
        self.b.call("event_record", self.b.context, last, COMPUTE)
        self.b.call("event_wait", self.b.context, last)
        ms = c.c_double()
        self.b.call("event_elapsed", self.b.context, first, last, c.byref(ms))
        return ms.value / 1e3

    def destroy(self):
        self.b.call("synchronize", self.b.context)
        self.b.table.network_destroy(self.b.context, self.handle)
