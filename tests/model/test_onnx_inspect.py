import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model import onnx_inspect
from model.errors import ArtifactRefused
from model.onnx_inspect import OPSETS, inspect


def number_of(message, field):
    return message.DESCRIPTOR.fields_by_name[field].number


@pytest.mark.parametrize(
    ("constant", "message", "field"),
    [
        ("_MODEL_GRAPH", onnx.ModelProto, "graph"),
        ("_MODEL_OPSET", onnx.ModelProto, "opset_import"),
        ("_MODEL_FUNCTIONS", onnx.ModelProto, "functions"),
        ("_MODEL_TRAINING_INFO", onnx.ModelProto, "training_info"),
        ("_OPSET_DOMAIN", onnx.OperatorSetIdProto, "domain"),
        ("_OPSET_VERSION", onnx.OperatorSetIdProto, "version"),
        ("_GRAPH_NODE", onnx.GraphProto, "node"),
        ("_GRAPH_INITIALIZER", onnx.GraphProto, "initializer"),
        ("_GRAPH_SPARSE_INITIALIZER", onnx.GraphProto, "sparse_initializer"),
        ("_NODE_ATTRIBUTE", onnx.NodeProto, "attribute"),
        ("_NODE_DOMAIN", onnx.NodeProto, "domain"),
        ("_ATTRIBUTE_TENSOR", onnx.AttributeProto, "t"),
        ("_ATTRIBUTE_GRAPH", onnx.AttributeProto, "g"),
        ("_ATTRIBUTE_TENSORS", onnx.AttributeProto, "tensors"),
        ("_ATTRIBUTE_GRAPHS", onnx.AttributeProto, "graphs"),
        ("_ATTRIBUTE_SPARSE_TENSOR", onnx.AttributeProto, "sparse_tensor"),
        ("_ATTRIBUTE_SPARSE_TENSORS", onnx.AttributeProto, "sparse_tensors"),
        ("_TENSOR_EXTERNAL_DATA", onnx.TensorProto, "external_data"),
        ("_TENSOR_DATA_LOCATION", onnx.TensorProto, "data_location"),
    ],
)
def test_a_field_number_is_that_of_onnx(constant, message, field):
    assert getattr(onnx_inspect, constant) == number_of(message, field)


def test_every_field_that_can_hold_a_tensor_or_a_graph_is_walked_or_refused():
    """A new onnx release may add a place to hide one in; then this list must grow."""
    hiding = {
        "TensorProto", "GraphProto", "SparseTensorProto", "FunctionProto", "NodeProto",
        "TrainingInfoProto",
    }  # fmt: skip
    found = {
        (message.DESCRIPTOR.name, field.name)
        for message in (onnx.ModelProto, onnx.GraphProto, onnx.NodeProto, onnx.AttributeProto)
        for field in message.DESCRIPTOR.fields
        if field.message_type is not None and field.message_type.name in hiding
    }
    assert found == {
        ("ModelProto", "graph"),
        ("ModelProto", "functions"),
        ("ModelProto", "training_info"),
        ("GraphProto", "node"),
        ("GraphProto", "initializer"),
        ("GraphProto", "sparse_initializer"),
        ("AttributeProto", "t"),
        ("AttributeProto", "g"),
        ("AttributeProto", "tensors"),
        ("AttributeProto", "graphs"),
        ("AttributeProto", "sparse_tensor"),
        ("AttributeProto", "sparse_tensors"),
    }


def copy_of(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def external_tensor(name="weights"):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[784, 10])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    return tensor


def inner_graph():
    graph = helper.make_graph([], "inner", [], [])
    graph.initializer.append(external_tensor())
    return graph


def with_attribute(model, **attribute):
    changed = copy_of(model)
    changed.graph.node[0].attribute.append(onnx.AttributeProto(name="hidden", **attribute))
    return changed


def refuse(model, match):
    with pytest.raises(ArtifactRefused, match=match):
        inspect(model.SerializeToString())


def test_a_plain_model_is_let_through(tiny_model):
    inspect(tiny_model.SerializeToString())


def test_external_data_of_a_weight_is_refused(tiny_model):
    model = copy_of(tiny_model)
    model.graph.initializer[0].CopyFrom(external_tensor())
    refuse(model, "other files")


def test_an_external_location_without_its_flag_is_refused(tiny_model):
    model = copy_of(tiny_model)
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")
    refuse(model, "other files")


@pytest.mark.parametrize(
    "attribute",
    [
        {"t": external_tensor()},
        {"g": inner_graph()},
    ],
    ids=lambda attribute: next(iter(attribute)),
)
def test_external_data_hidden_in_an_attribute_is_refused(tiny_model, attribute):
    refuse(with_attribute(tiny_model, **attribute), "other files")


@pytest.mark.parametrize(
    "attribute",
    [
        {"tensors": [external_tensor()]},
        {"graphs": [inner_graph()]},
        {"sparse_tensor": onnx.SparseTensorProto(values=external_tensor())},
        {"sparse_tensors": [onnx.SparseTensorProto(indices=external_tensor())]},
    ],
    ids=lambda attribute: next(iter(attribute)),
)
def test_an_attribute_of_a_kind_that_no_classifier_needs_is_refused(tiny_model, attribute):
    refuse(with_attribute(tiny_model, **attribute), "several or sparse")


def test_a_sparse_weight_is_refused(tiny_model):
    model = copy_of(tiny_model)
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=external_tensor()))
    refuse(model, "sparse")


def test_training_graphs_are_refused(tiny_model):
    model = copy_of(tiny_model)
    model.training_info.add().algorithm.CopyFrom(inner_graph())
    refuse(model, "training graphs")


def test_an_endlessly_nested_graph_is_refused(tiny_model):
    def wrapped(field, message):
        return varint(field << 3 | 2) + varint(len(message)) + message

    def varint(value):
        parts = []
        while value >= 0x80:
            parts.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*parts, value])

    graph = b""
    for _ in range(2_000):
        graph = wrapped(1, wrapped(5, wrapped(6, graph)))  # node, attribute, graph
    with pytest.raises(ArtifactRefused):
        inspect(wrapped(7, graph))


def test_a_number_without_end_is_refused_at_once():
    with pytest.raises(ArtifactRefused, match="64 bits"):
        inspect(b"\xff" * 1_000)


def test_an_operator_set_without_a_version_is_refused(tiny_model):
    model = copy_of(tiny_model)
    model.opset_import[0].ClearField("version")
    refuse(model, "not an ONNX file")


def test_a_custom_operator_hidden_in_a_subgraph_of_a_subgraph_is_refused(tiny_model):
    custom = helper.make_graph([helper.make_node("Evil", [], [], domain="x")], "b", [], [])
    outer = helper.make_graph([helper.make_node("If", [], [], then_branch=custom)], "a", [], [])
    refuse(with_attribute(tiny_model, g=outer), "domain b'x'")


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml", "evil", "ai.onnx.contrib"])
def test_a_node_of_another_domain_is_refused(tiny_model, domain):
    model = copy_of(tiny_model)
    model.graph.node[0].domain = domain
    refuse(model, domain)


def test_another_domain_in_the_imports_is_refused(tiny_model):
    model = copy_of(tiny_model)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    refuse(model, "com.microsoft")


def test_onnx_by_its_full_name_is_let_through(tiny_model):
    model = copy_of(tiny_model)
    model.opset_import[0].domain = "ai.onnx"
    model.graph.node[0].domain = "ai.onnx"
    inspect(model.SerializeToString())


def test_functions_are_refused(tiny_model):
    model = copy_of(tiny_model)
    model.functions.append(
        helper.make_function("local", "f", [], [], [], [helper.make_opsetid("", 17)])
    )
    refuse(model, "functions")


@pytest.mark.parametrize("opset", [OPSETS.start, OPSETS.stop - 1])
def test_an_opset_at_the_limit_is_let_through(tiny_model, opset):
    model = copy_of(tiny_model)
    model.opset_import[0].version = opset
    inspect(model.SerializeToString())


@pytest.mark.parametrize("opset", [OPSETS.start - 1, OPSETS.stop, 10_000])
def test_an_opset_beyond_the_limit_is_refused(tiny_model, opset):
    model = copy_of(tiny_model)
    model.opset_import[0].version = opset
    refuse(model, f"opset {opset}")


def test_no_opset_is_refused(tiny_model):
    model = copy_of(tiny_model)
    del model.opset_import[:]
    refuse(model, r"imports the opsets \[\]")


def test_two_opsets_are_refused_and_one_that_is_named_twice_is_not(tiny_model):
    model = copy_of(tiny_model)
    again = model.opset_import.add()
    again.version = model.opset_import[0].version
    inspect(model.SerializeToString())  # as skl2onnx writes it
    again.version += 1
    refuse(model, "imports the opsets")


def test_two_graphs_are_refused(tiny_model):
    """Protobuf merges a repeated message: each graph alone may look harmless."""
    whole = tiny_model.SerializeToString()
    with pytest.raises(ArtifactRefused):
        inspect(whole + whole)


@pytest.mark.parametrize("junk", [b"", b"\0", b"hello world", b"\xff" * 100, b"\x3a\x7f"])
def test_bytes_that_are_not_an_onnx_file_are_refused(junk):
    with pytest.raises(ArtifactRefused):
        inspect(junk)


def test_a_file_cut_anywhere_is_refused_or_lacks_a_graph():
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["a"], ["b"])],
            "small",
            [helper.make_tensor_value_info("a", TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info("b", TensorProto.FLOAT, [1])],
            [numpy_helper.from_array(np.ones(3, np.float32), "unused")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    whole = model.SerializeToString()
    for length in range(len(whole)):
        with pytest.raises(ArtifactRefused):
            inspect(whole[:length])


def test_a_domain_is_let_through_where_the_rules_name_it_and_nowhere_else(tiny_model):
    model = copy_of(tiny_model)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    model.graph.node[0].domain = "ai.onnx.ml"
    refuse(model, "ai.onnx.ml")
    inspect(model.SerializeToString(), domains=("ai.onnx.ml",))
    model.graph.node[0].domain = "elsewhere"
    with pytest.raises(ArtifactRefused, match="elsewhere"):
        inspect(model.SerializeToString(), domains=("ai.onnx.ml",))
