"""A peer in Python, for tools/peers: `python peer.py NAME`.

Reads questions and writes answers, each one line of JSON; an answer is {"error": why} where something cannot be done. The first
answer comes unasked and says who this is. Questions: {"do": "prepare" | "results" | "time" | "clear", ...}.
"""

import json
import os
import sys
import time

import numpy as np


class Onnxruntime:
    """Graphs of one step each; kinds of work are tools/peers/src/work.rs's."""

    kinds = ["softmax", "argmax", "sample", "route"]

    def __init__(self, name, provider, multinomial=False):
        import onnxruntime

        self.ort = onnxruntime
        onnxruntime.set_default_logger_severity(3)
        if provider not in onnxruntime.get_available_providers():
            raise RuntimeError(f"this onnxruntime has no {provider}")
        self.name, self.version, self.provider = name, onnxruntime.__version__, provider
        self.on_device = provider == "WebGpuExecutionProvider"
        self.multinomial = multinomial
        if multinomial:
            self.kinds = ["sample"]
        if self.on_device:
            # Whether Dawn accepts the driver shows when a session is made.
            self.session(self.model({"kind": "softmax", "rows": 1, "cols": 4}), True)

    def model(self, ask):
        """The graph: x, and u where noise is an input, to values and columns."""
        from onnx import TensorProto, helper

        kind, rows, cols = ask["kind"], ask["rows"], ask["cols"]
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, cols])]
        floats = lambda name, value: helper.make_node(
            "Constant", [], [name], value=helper.make_tensor(name, TensorProto.FLOAT, [], [value])
        )
        integers = lambda name, value: helper.make_node(
            "Constant", [], [name], value=helper.make_tensor(name, TensorProto.INT64, [1], [value])
        )
        values = helper.make_tensor_value_info("values", TensorProto.FLOAT, None)
        columns = helper.make_tensor_value_info("columns", TensorProto.INT64, None)
        if kind == "softmax":
            nodes, outputs = [helper.make_node("Softmax", ["x"], ["values"], axis=-1)], [values]
        elif kind == "argmax":
            nodes, outputs = [helper.make_node("ArgMax", ["x"], ["columns"], axis=-1, keepdims=0)], [columns]
        elif kind == "sample" and self.multinomial:
            nodes = [
                floats("inverse", 1 / ask["temperature"]),
                helper.make_node("Mul", ["x", "inverse"], ["z"]),
                helper.make_node("Multinomial", ["z"], ["columns"], sample_size=1, dtype=TensorProto.INT64),
            ]
            outputs = [columns]
        elif kind == "sample":
            if self.on_device:
                # Uniforms are an input, made in advance: the provider makes none.
                inputs.append(helper.make_tensor_value_info("u", TensorProto.FLOAT, [rows, cols]))
                nodes = []
            else:
                nodes = [helper.make_node("RandomUniformLike", ["x"], ["u"], low=0.0, high=1.0)]
            nodes += [
                floats("temperature", ask["temperature"]),
                helper.make_node("Log", ["u"], ["log"]),
                helper.make_node("Neg", ["log"], ["exponential"]),
                helper.make_node("Log", ["exponential"], ["minus_gumbel"]),
                helper.make_node("Mul", ["minus_gumbel", "temperature"], ["noise"]),
                helper.make_node("Sub", ["x", "noise"], ["scores"]),
                helper.make_node("ArgMax", ["scores"], ["columns"], axis=-1, keepdims=0),
            ]
            outputs = [columns]
        else:
            nodes = [
                integers("k", ask["choices"]),
                integers("axis", -1),
                helper.make_node("Softmax", ["x"], ["p"], axis=-1),
                helper.make_node("TopK", ["p", "k"], ["best", "columns"], axis=-1, largest=1, sorted=1),
                helper.make_node("ReduceSum", ["best", "axis"], ["sum"], keepdims=1),
                helper.make_node("Div", ["best", "sum"], ["values"]),
            ]
            outputs = [values, columns]
        graph = helper.make_graph(nodes, kind, inputs, outputs)
        opset = helper.make_opsetid("", 17)
        return helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()

    def session(self, model, alone):
        """`alone`: no node may be given to the CPU instead."""
        options = self.ort.SessionOptions()
        options.log_severity_level = 3
        if self.on_device and alone:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        # Without a device Python's wrapper would go on with the CPU.
        return self.ort.InferenceSession(model, options, providers=[self.provider], enable_fallback=0)

    def prepare(self, ask):
        model = self.model(ask)
        note = None
        try:
            self.graph = self.session(model, True)
        except Exception as error:
            if not self.on_device:
                raise
            self.graph = self.session(model, False)
            note = f"some of the graph runs on the CPU: {reason(error)}"
        x = np.fromfile(ask["logits"], np.float32).reshape(ask["rows"], ask["cols"])
        self.shape = x.shape
        self.outputs = [output.name for output in self.graph.get_outputs()]
        self.takes_noise = len(self.graph.get_inputs()) > 1
        if self.takes_noise:
            note = "; ".join(filter(None, [note, "its uniforms are made in advance and not timed"]))
        if self.on_device:
            self.prepare_device()
        self.random = np.random.default_rng(1)
        self.sets = [self.inputs(x) for _ in range(ask["sets"])]
        return {"note": note}

    def inputs(self, x):
        """One copy of what a call reads, where it is read."""
        arrays = {"x": x.copy()}
        if self.takes_noise:
            arrays["u"] = self.random.random(self.shape, np.float32)
        if self.on_device:
            return {name: self.upload(array) for name, array in arrays.items()}
        return {name: self.ort.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}

    def prepare_device(self):
        from onnx import TensorProto, helper

        def identity(shape):
            x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
            graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [x], [y])
            opset = helper.make_opsetid("", 17)
            return self.session(helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString(), True)

        self.mover, self.waiter = identity(list(self.shape)), identity([1])
        self.token = self.move(self.waiter, np.zeros(1, np.float32))

    def move(self, identity, array):
        """There is no upload: a graph that does nothing takes its input from here and leaves its output there."""
        binding = identity.io_binding()
        binding.bind_cpu_input("x", array)
        binding.bind_output("y", "webgpu")
        identity.run_with_iobinding(binding)
        return binding.get_outputs()[0]

    def upload(self, array):
        return self.move(self.mover, array)

    def binding(self, inputs, on_device):
        binding = self.graph.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name in self.outputs:
            binding.bind_output(name, "webgpu" if on_device else "cpu")
        return binding

    def results(self):
        inputs = self.sets[0]
        if self.takes_noise:
            inputs = {**inputs, "u": self.upload(self.random.random(self.shape, np.float32))}
        binding = self.binding(inputs, False)
        self.graph.run_with_iobinding(binding)
        return dict(zip(self.outputs, (value.numpy() for value in binding.get_outputs())))

    def time(self, calls):
        bindings = [self.binding(self.sets[i % len(self.sets)], self.on_device) for i in range(calls)]
        self.wait()
        wall, cpu = time.perf_counter(), time.process_time()
        for binding in bindings:
            self.graph.run_with_iobinding(binding)
        self.wait()
        return {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    def wait(self):
        """Until all that was submitted is done: four bytes are read back after it."""
        if self.on_device:
            binding = self.waiter.io_binding()
            binding.bind_ortvalue_input("x", self.token)
            binding.bind_output("y", "cpu")
            self.waiter.run_with_iobinding(binding)

    def clear(self):
        self.sets, self.graph = [], None


class Torch:
    """PyTorch on the CPU, as its users write it."""

    kinds = ["softmax", "argmax", "sample", "route"]

    def __init__(self):
        import torch

        self.torch = torch
        self.name, self.version = "PyTorch CPU", torch.__version__

    def prepare(self, ask):
        self.ask = ask
        x = np.fromfile(ask["logits"], np.float32).reshape(ask["rows"], ask["cols"])
        self.sets = [self.torch.from_numpy(x.copy()) for _ in range(ask["sets"])]
        return {"note": None}

    def call(self, x):
        kind, torch = self.ask["kind"], self.torch
        if kind == "softmax":
            return {"values": torch.softmax(x, -1)}
        if kind == "argmax":
            return {"columns": torch.argmax(x, -1)}
        if kind == "sample":
            return {"columns": torch.multinomial(torch.softmax(x / self.ask["temperature"], -1), 1)}
        values, columns = torch.topk(torch.softmax(x, -1), self.ask["choices"], -1)
        return {"values": values / values.sum(-1, keepdim=True), "columns": columns}

    def results(self):
        with self.torch.inference_mode():
            return {name: tensor.numpy() for name, tensor in self.call(self.sets[0]).items()}

    def time(self, calls):
        with self.torch.inference_mode():
            wall, cpu = time.perf_counter(), time.process_time()
            for i in range(calls):
                self.call(self.sets[i % len(self.sets)])
            return {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    def clear(self):
        self.sets = []


PEERS = {
    "onnxruntime-webgpu": lambda: Onnxruntime("onnxruntime WebGPU", "WebGpuExecutionProvider"),
    "onnxruntime-cpu": lambda: Onnxruntime("onnxruntime CPU", "CPUExecutionProvider"),
    "onnxruntime-cpu-multinomial": lambda: Onnxruntime("onnxruntime CPU, Multinomial", "CPUExecutionProvider", True),
    "torch-cpu": Torch,
}


def reason(error):
    """The first line of an error, without the assertion that noticed it, or its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].rpartition(" was false. ")[2] if lines else type(error).__name__


def write(folder, results):
    """Values as f32, columns as u32; what there is none of is empty."""
    for name, dtype in (("values", np.float32), ("columns", np.uint32)):
        results.get(name, np.empty(0)).astype(dtype).tofile(os.path.join(folder, name))


def main():
    # Libraries print: what they say goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(value):
        print(json.dumps(value), file=answers, flush=True)

    try:
        peer = PEERS[sys.argv[1]]()
    except Exception as error:
        answer({"error": reason(error)})
        return
    answer({"name": peer.name, "version": peer.version, "kinds": peer.kinds})
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            if ask["do"] == "prepare":
                answer(peer.prepare(ask))
            elif ask["do"] == "results":
                write(ask["folder"], peer.results())
                answer({})
            elif ask["do"] == "time":
                answer(peer.time(ask["calls"]))
            else:
                peer.clear()
                answer({})
        except Exception as error:
            answer({"error": reason(error)})


if __name__ == "__main__":
    main()
