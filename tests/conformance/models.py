"""Judges captured calls by botocore's models of AWS's services, which AWS publishes and nobody here wrote.

A request is read by moto's parsers and written again by botocore: what does not come out as it went in is not in the model.
What was read is then compared with the model: members that are required, types, enums, lengths, ranges and patterns.
An answer is read by botocore, compared with the model in the same way, and walked for what the model does not have.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import urllib.parse
import zlib
from collections.abc import Iterator
from xml.etree import ElementTree

import botocore.parsers
import botocore.serialize
import botocore.session
from botocore.awsrequest import HeadersDict
from botocore.model import OperationModel, ServiceModel, Shape
from moto.core.model import ServiceModel as MotoServiceModel
from moto.core.parse import PROTOCOL_PARSERS
from werkzeug.datastructures import Headers, MultiDict

from capture import Call
from shapes import constraints, short, tag_of, unknown_json, unknown_xml

# Codes that any operation may answer with, whatever its model lists: the "Common Errors" of the API references of IAM, STS,
# ECS, CloudWatch Logs, SSM and Secrets Manager (read 26 November 2026).
COMMON_ERRORS = set(
    """
    AccessDenied AccessDeniedException ExpiredToken ExpiredTokenException IncompleteSignature InternalFailure
    InternalServerError InvalidAction InvalidClientTokenId InvalidSignatureException MalformedQueryString MissingAction
    MissingAuthenticationToken NotAuthorized OptInRequired RequestExpired SerializationException ServiceUnavailable
    SignatureDoesNotMatch Throttling ThrottlingException UnknownOperationException UnrecognizedClientException
    ValidationError ValidationException
    """.split()
)
# Headers that belong to signing and transport, not to an operation.
OF_THE_TRANSPORT = {
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-security-token",
    "x-amz-trailer",
    "x-amz-user-agent",
}
# Services whose name in a signature is not that of their model.
SIGNED_AS = {"monitoring": "cloudwatch", "tagging": "resourcegroupstaggingapi"}
# Operations of S3 that only the endpoint tells from others.
OF_ANOTHER_ENDPOINT = {"ListDirectoryBuckets"}
# Parameters whose text is a JSON document.
DOCUMENTS = {"AssumeRolePolicyDocument", "Policy", "PolicyDocument"}
# Where AWS is known to answer otherwise than its own models say.
AWS_DIFFERS = {
    # The examples in the API reference have it, as the answers of all of EC2's older operations do.
    "ec2:AssignPrivateIpAddresses: answer: .return: not in the model",
    "ec2:AssociateAddress: answer: .return: not in the model",
    "ec2:CreateSecurityGroup: answer: .return: not in the model",
    # "For an internet gateway, the state is `available` when attached to a VPC" (API reference, InternetGatewayAttachment).
    "ec2:DescribeInternetGateways: answer: .InternetGateways[].Attachments[].State: 'available' is not one of the enum",
    # The text of the filter `interface-type` in the same model names it.
    "ec2:DescribeNetworkInterfaces: answer: .NetworkInterfaces[].InterfaceType: 'nat_gateway' is not one of the enum",
    # "HTTP/1.1 204 No Content" in the examples of the API reference.
    "s3:PutBucketPolicy: answer: status 204, the model says 200",
    # Buckets lie in the region that they are created in, and this list of regions is older than this one.
    "s3:CreateBucket: request: .CreateBucketConfiguration.LocationConstraint: 'eusc-de-east-1' is not one of the enum",
}
# "Bucket policies are limited to 20 KB in size" (S3 user guide, read 26 November 2026).
LONGEST_BUCKET_POLICY = 20 * 1024


def violations(call: Call) -> list[str]:
    """What is wrong with a call and its answer, each as `service:Operation: where: what`."""
    return [one for one in differences(call) if one not in AWS_DIFFERS]


def differences(call: Call) -> list[str]:
    """The same, with what AWS is known to do otherwise."""
    if call.scope is None:
        return [f"{call.method} {call.target}: not signed"]
    service = service_of(call)
    name = operation_name(call, service)
    if name is None:
        return [f"{service}: {call.method} {call.target}: no operation of the model"]
    found = [f"{service}:{name}: request: {one}" for one in of_request(call, service, name)]
    return found + _differences_of_the_answer(call, model(service).operation_model(name))


def violations_of_a_test(call: Call) -> list[str]:
    """The same, but without the requests of botocore itself: they are wrong only where a test wants them to be."""
    if "botocore" not in call.header("user-agent").lower():
        return violations(call)
    service = service_of(call)
    name = operation_name(call, service)
    return in_the_answer(call, model(service).operation_model(name)) if name else []


def in_the_answer(call: Call, wanted: OperationModel) -> list[str]:
    """What is wrong with the answer alone, for who knows the operation."""
    return [one for one in _differences_of_the_answer(call, wanted) if one not in AWS_DIFFERS]


def _differences_of_the_answer(call: Call, wanted: OperationModel) -> list[str]:
    prefix = f"{wanted.service_model.service_name}:{wanted.name}: answer: "
    return [prefix + one for one in of_answer(call, wanted)]


def operation(call: Call) -> str | None:
    """The operation that a call asks for, as in `ec2:RunInstances`."""
    service = service_of(call)
    name = service and operation_name(call, service)
    return f"{service}:{name}" if name else None


def service_of(call: Call) -> str | None:
    """The service that a call was signed for, by the name of its model."""
    signed_for = call.scope and call.scope[1]
    return SIGNED_AS.get(signed_for, signed_for)


@functools.cache
def _loader():
    return botocore.session.get_session().get_component("data_loader")


@functools.cache
def model(service: str) -> ServiceModel:
    return ServiceModel(_loader().load_service_model(service, "service-2"), service)


@functools.cache
def _moto_model(service: str) -> MotoServiceModel:
    return MotoServiceModel(_loader().load_service_model(service, "service-2"), service)


# Which operation


def operation_name(call: Call, service: str) -> str | None:
    protocol = model(service).metadata["protocol"]
    if call.header("smithy-protocol"):
        name = call.target.rpartition("/")[2]
    elif protocol in ("ec2", "query"):
        name = call.form.get("Action")
    elif protocol == "json":
        name = call.header("x-amz-target").rpartition(".")[2]
    else:
        name = _of_rest(call, service)
    return name if name in model(service).operation_names else None


def _of_rest(call: Call, service: str) -> str | None:
    """The operation whose method, path and constant or required parts are the most that the request has."""
    query = dict(call.query)
    if "x-id" in query:
        return query["x-id"]
    best = (-1, None)
    for name in set(model(service).operation_names) - OF_ANOTHER_ENDPOINT:
        wanted = model(service).operation_model(name)
        uri = urllib.parse.urlsplit(wanted.http["requestUri"])
        if wanted.http["method"] != call.method or len(_segments(uri.path)) != len(_segments(call.target)):
            continue
        constants = urllib.parse.parse_qsl(uri.query, keep_blank_values=True)
        if any(key not in query or (value and query[key] != value) for key, value in constants):
            continue
        needed = [
            (shape.serialization.get("location"), shape.serialization.get("name"))
            for member, shape in (wanted.input_shape.members if wanted.input_shape else {}).items()
            if member in wanted.input_shape.required_members
        ]
        needed = [(location, key) for location, key in needed if location in ("querystring", "header")]
        present = {"querystring": set(query), "header": {name for name, _ in call.headers}}
        if all((key if location == "querystring" else key.lower()) in present[location] for location, key in needed):
            best = max(best, (len(constants) + len(needed), name))
    return best[1]


def _segments(target: str) -> list[str]:
    """Bucket and key of a path."""
    return [part for part in urllib.parse.urlsplit(target).path.lstrip("/").split("/", 1) if part]


# Requests


def of_request(call: Call, service: str, name: str) -> list[str]:
    wanted = model(service).operation_model(name)
    protocol = model(service).metadata["protocol"]
    try:
        parameters = PROTOCOL_PARSERS[protocol](_moto_model(service).operation_model(name)).parse(_as_moto(call, wanted))
    except Exception as error:  # noqa: BLE001: whatever a parser stumbles over is the finding
        return [f"cannot be read: {error!r}"]
    parameters = {key: value for key, value in parameters.items() if value not in ([], None)}
    written = botocore.serialize.create_serializer(protocol, include_validation=False).serialize_to_request(
        parameters, wanted
    )
    found = list(_wire_differences(call, wanted, written))
    found += _documents(parameters)
    if wanted.input_shape is not None:
        found += constraints(wanted.input_shape, parameters)
    if protocol == "rest-xml":
        found += _checksums(call, wanted)
    return found


def _payload(shape: Shape | None) -> Shape | None:
    """The member that is the whole body, where one is."""
    name = shape.serialization.get("payload") if shape is not None else None
    return shape.members[name] if name else None


def _as_moto(call: Call, wanted: OperationModel) -> dict:
    """A request as moto's parsers take it."""
    payload = _payload(wanted.input_shape)
    # They decode what is not text.
    is_opaque = payload is not None and payload.type_name == "blob"
    segments = [urllib.parse.unquote(one) for one in _segments(call.target)]
    return {
        "method": call.method,
        "url_path": call.target,
        "url_params": dict(zip(("Bucket", "Key"), segments, strict=False)),
        "headers": Headers(list(call.headers)),
        "values": MultiDict(call.query if wanted.service_model.metadata["protocol"] == "rest-xml" else call.form),
        "body": b"" if is_opaque else call.body,
    }


def _wire_differences(call: Call, wanted: OperationModel, written: dict) -> Iterator[str]:
    """Where a request differs from what botocore writes for the same parameters."""
    protocol = wanted.service_model.metadata["protocol"]
    if protocol == "json":
        yield from _differences("body", json.loads(call.body or b"{}"), json.loads(written["body"] or b"{}"))
    elif protocol in ("ec2", "query"):
        # Empty text is how a list or map without items is sent.
        sent = {key: value for key, value in call.form.items() if value}
        yield from _differences("form", sent, {key: str(value) for key, value in written["body"].items() if value != ""})
    else:
        yield from _rest_differences(call, wanted, written)
    for name in ("X-Amz-Target", "Content-Type"):
        expected = written["headers"].get(name)
        if expected and protocol != "rest-xml" and call.header(name.lower()).split(";")[0] != expected.split(";")[0]:
            yield f"header {name}: `{call.header(name.lower())}`, the model says `{expected}`"


def _rest_differences(call: Call, wanted: OperationModel, written: dict) -> Iterator[str]:
    # Both have the constants of the operation in the path.
    uri = urllib.parse.urlsplit(written["url_path"])
    path = urllib.parse.urlsplit(call.target).path
    if urllib.parse.unquote(path).rstrip("/") != urllib.parse.unquote(uri.path).rstrip("/"):
        yield f"path `{path}`, the model says `{uri.path}`"
    query = {key: value for key, value in call.query if key != "x-id" and not key.startswith("X-Amz-")}
    constants = dict(urllib.parse.parse_qsl(uri.query, keep_blank_values=True))
    expected = constants | {key: _text(value) for key, value in dict(written["query_string"]).items()}
    yield from _differences("query", query, expected)
    modelled = {
        shape.serialization["name"].lower()
        for shape in (wanted.input_shape.members.values() if wanted.input_shape else ())
        if shape.serialization.get("location") == "header"
    }
    sent = {
        name: value
        for name, value in call.headers
        if name in modelled or (name.startswith("x-amz-") and name not in OF_THE_TRANSPORT)
    }
    # A checksum may come by any algorithm that the member for it knows; few models have a member for each.
    chosen_by = wanted.http_checksum.get("requestAlgorithmMember")
    if chosen_by:
        algorithms = wanted.input_shape.members[chosen_by].enum
        sent = {
            name: value
            for name, value in sent.items()
            if name in modelled or name.removeprefix("x-amz-checksum-").upper() not in algorithms
        }
    headers = {name.lower(): _text(value) for name, value in HeadersDict(written["headers"]).items()}
    # A media type that only the serializer adds, and that the model does not have.
    headers = {name: value for name, value in headers.items() if name in sent or name in modelled}
    yield from _differences("headers", sent, headers)
    payload = _payload(wanted.input_shape)
    if payload is None and call.body:
        yield "a body, but the model has none"
    elif payload is not None and payload.type_name == "structure" and call.body:
        yield from _differences("body", _canonical(call.body), _canonical(written["body"]))


def _text(value) -> str:
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _canonical(document: bytes) -> dict:
    """XML as nested maps, in which only the order of elements with one name counts."""

    def node(element):
        children = {}
        for child in element:
            children.setdefault(tag_of(child), []).append(node(child))
        return children or (element.text or "")

    root = ElementTree.fromstring(document)
    return {root.tag: node(root)}


def _differences(path: str, sent, expected) -> Iterator[str]:
    # An XML element without children is empty text.
    if isinstance(sent, dict) and expected == "":
        expected = {}
    if isinstance(sent, dict) and isinstance(expected, dict):
        for key in sent.keys() | expected.keys():
            if key not in expected:
                yield f"{path}.{key}: not in the model"
            elif key not in sent:
                yield f"{path}.{key}: only in the model"
            else:
                yield from _differences(f"{path}.{key}", sent[key], expected[key])
    elif isinstance(sent, list) and isinstance(expected, list) and len(sent) == len(expected):
        for number, pair in enumerate(zip(sent, expected, strict=True)):
            yield from _differences(f"{path}[{number}]", *pair)
    elif type(sent) is not type(expected) or sent != expected:
        yield f"{path}: {short(sent)}, the model says {short(expected)}"


def _documents(parameters: dict) -> Iterator[str]:
    """What is wrong with the JSON documents in parameters, of which the models only say that they are text."""
    for name in DOCUMENTS & parameters.keys():
        try:
            document = json.loads(parameters[name])
        except ValueError as error:
            yield f".{name}: no JSON: {error}"
            continue
        if not isinstance(document, dict) or not document.get("Statement"):
            yield f".{name}: has no statement"
        if name == "Policy" and len(parameters[name].encode()) > LONGEST_BUCKET_POLICY:
            yield f".{name}: longer than {LONGEST_BUCKET_POLICY} bytes"


def _checksums(call: Call, wanted: OperationModel) -> Iterator[str]:
    """Whether the digests that a request has are those of its body, and whether one is there where S3 needs one."""
    digests = {
        "content-md5": lambda body: base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()),
        "x-amz-checksum-crc32": lambda body: base64.b64encode(zlib.crc32(body).to_bytes(4, "big")),
        "x-amz-checksum-sha1": lambda body: base64.b64encode(hashlib.sha1(body, usedforsecurity=False).digest()),
        "x-amz-checksum-sha256": lambda body: base64.b64encode(hashlib.sha256(body).digest()),
        "x-amz-content-sha256": lambda body: hashlib.sha256(body).hexdigest().encode(),
    }
    body, trailers = _content(call)
    headers = dict(call.headers) | trailers
    kinds = ("x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type")
    sums = {name: value for name, value in headers.items() if name.startswith("x-amz-checksum-") and name not in kinds}
    if "content-md5" in headers:
        sums["content-md5"] = headers["content-md5"]
    if wanted.http_checksum.get("requestChecksumRequired") and not sums:
        yield "no checksum, but the model requires one"
    announced = headers.get("x-amz-sdk-checksum-algorithm")
    if announced and f"x-amz-checksum-{announced.lower()}" not in sums:
        yield f"announces a checksum by {announced} and has none"
    signed = headers.get("x-amz-content-sha256", "")
    if len(signed) == 64:
        sums["x-amz-content-sha256"] = signed
    for name, value in sums.items():
        if name not in digests:
            yield f"header {name}: nothing here can compute it"
        elif digests[name](body).decode() != value:
            yield f"header {name}: `{value}` is not that of the body"


def _content(call: Call) -> tuple[bytes, dict[str, str]]:
    """The content of a body and its trailers: clients may frame it (`Content-Encoding: aws-chunked`)."""
    if "aws-chunked" not in call.header("content-encoding"):
        return call.body, {}
    content, rest = b"", call.body
    while True:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        content, rest = content + rest[:size], rest[size + 2 :]
    lines = [line.split(":", 1) for line in rest.decode().split("\r\n") if ":" in line]
    return content, {name.strip().lower(): value.strip() for name, value in lines}


# Answers


def of_answer(call: Call, wanted: OperationModel) -> list[str]:
    if call.header("smithy-protocol"):
        # Services that are not served answer in CBOR, too.
        return [] if call.status >= 400 else ["CBOR, which nothing here compares with the model"]
    try:
        parsed = _parsed(call, wanted)
    except Exception as error:  # noqa: BLE001: whatever the parser stumbles over is the finding
        return [f"cannot be read: {error!r}"]
    if call.status >= 300:
        return list(_of_error(call, wanted, parsed)) if call.status != 304 else []
    metadata = parsed.pop("ResponseMetadata")
    found = [] if metadata.get("RequestId") else ["no request id"]
    expected = wanted.http.get("responseCode", 200)
    # 206 is HTTP's for a part of a body.
    if call.status not in (expected, 206):
        found.append(f"status {call.status}, the model says {expected}")
    if wanted.output_shape is not None:
        # Answers share their shapes with requests, and an empty list is an answer.
        found += (one for one in constraints(wanted.output_shape, parsed) if ": 0 items, " not in one)
        found += _unknown(call, wanted)
    return found


def _parsed(call: Call, wanted: OperationModel) -> dict:
    """An answer as botocore's clients see it, which leave content as a stream."""
    payload = _payload(wanted.output_shape)
    is_stream = payload is not None and payload.type_name == "blob" and call.status < 300
    answer = {
        "headers": HeadersDict(dict(call.answer_headers)),
        "status_code": call.status,
        "body": io.BytesIO(call.answer) if is_stream else call.answer,
        "context": {"operation_name": wanted.name},
    }
    return botocore.parsers.create_parser(wanted.service_model.metadata["protocol"]).parse(answer, wanted.output_shape)


def _of_error(call: Call, wanted: OperationModel, parsed: dict) -> Iterator[str]:
    code = parsed.get("Error", {}).get("Code")
    if call.method == "HEAD":
        return
    if not code:
        yield f"an error without a code: {short(call.answer)}"
        return
    listed = {shape.metadata.get("error", {}).get("code", shape.name): shape for shape in wanted.error_shapes}
    # The models of EC2 and S3 list no errors, or a few.
    if wanted.service_model.service_name not in ("ec2", "s3") and code not in listed and code not in COMMON_ERRORS:
        yield f"error `{code}`: the model lists {sorted(listed)}"
    status = listed[code].metadata.get("error", {}).get("httpStatusCode") if code in listed else None
    if status and status != call.status:
        yield f"error `{code}`: status {call.status}, the model says {status}"


def _unknown(call: Call, wanted: OperationModel) -> Iterator[str]:
    """What an answer has and the model does not."""
    shape = wanted.output_shape
    protocol = wanted.service_model.metadata["protocol"]
    payload = _payload(shape)
    if not call.answer or (payload is not None and payload.type_name != "structure"):
        return
    if protocol == "json":
        yield from unknown_json(shape, json.loads(call.answer))
        return
    root = ElementTree.fromstring(call.answer)
    if protocol == "query":
        wrapper = shape.serialization.get("resultWrapper")
        result = next((child for child in root if tag_of(child) == wrapper), None)
        if result is None:
            yield f"no `{wrapper}`"
        else:
            yield from unknown_xml(shape, result)
    elif protocol == "ec2":
        yield from unknown_xml(shape, root, more=("requestId",))
    elif wanted.name != "GetBucketLocation":
        # Its text is its root element's, which no other answer does.
        yield from unknown_xml(payload if payload is not None else shape, root)
