"""The operations, by method, sub-resource and whether a key is named."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree

from oss_server.messages import Asked, Reply
from oss_server.problem import Problem, document, element
from oss_server.storage import Bucket, Stored

if TYPE_CHECKING:
    from oss_server.server import OssServer

Operation = Callable[["OssServer", Bucket, "Asked"], "Reply"]
_KEPT = ("content-type", "cache-control", "content-disposition", "content-encoding", "expires", "content-language")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def find(asked: Asked) -> tuple[str, Operation]:
    """(the right that it needs, the operation). Raises Problem."""
    for method, with_key, needs, action, operation in _ROUTES:
        if (method, with_key) == (asked.method, bool(asked.key)) and all(name in asked.query for name in needs):
            return f"oss:{action}", operation
    raise Problem(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")


def _put(server: OssServer, bucket: Bucket, asked: Asked) -> Reply:
    bucket.check_free(asked.key, _forbids(asked))
    one = bucket.receive(asked.key, asked.body, asked.headers.get("content-md5", ""))
    one.headers = _kept(asked)
    return _reply(headers=_sums(bucket.publish(one, _forbids(asked))))


def _get(server: OssServer, bucket: Bucket, asked: Asked) -> Reply:
    one = bucket.get(asked.key)
    headers = {
        **one.headers,
        **_sums(one),
        "Last-Modified": formatdate(one.modified, usegmt=True),
        "Accept-Ranges": "bytes",
        "x-oss-object-type": one.kind,
        "x-oss-storage-class": "Standard",
    }
    said = [(name, asked.query.get(f"response-{name}")) for name in _KEPT]
    headers |= {name: value for name, value in said if value}
    start, end = _span(asked.headers.get("range", ""), one.size)
    if (start, end) != (0, one.size):
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{one.size}"
    status = 206 if "Content-Range" in headers else 200
    return _reply(status, headers=headers, file=(bucket.path(one.file), start, end - start))


def _delete(server: OssServer, bucket: Bucket, asked: Asked) -> Reply:
    bucket.delete(asked.key)
    return _reply(204)


def _append(server: OssServer, bucket: Bucket, asked: Asked) -> Reply:
    new = bucket.receive(asked.key, asked.body, asked.headers.get("content-md5", ""))
    new.headers = _kept(asked)
    one = bucket.append(new, _number(asked, "position"))
    return _reply(headers={**_sums(one), "x-oss-next-append-position": str(one.size)})


def _list(server: OssServer, bucket: Bucket, asked: Asked) -> Reply:
    query = asked.query
    if query.get("list-type") != "2":
        raise Problem(400, "InvalidArgument", "Only list-type=2 is served.")
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    limit = _number(asked, "max-keys", 100, 1000)
    after = _token(query["continuation-token"]) if query.get("continuation-token") else query.get("start-after", "")
    objects: list[str] = []
    folders: dict[str, None] = {}
    last, truncated = "", False
    for key in bucket.sorted_keys():
        if not key.startswith(prefix) or key.encode() <= after.encode():
            continue
        folder = _folder(key, prefix, delimiter)
        # A token that ends within a folder has told of the folder.
        if folder and (folder in folders or after.startswith(folder)):
            last = key if folder in folders else last
            continue
        if len(objects) + len(folders) == limit:
            truncated = True
            break
        last = key
        if folder:
            folders[folder] = None
        else:
            objects.append(key)
    code = _coder(query)
    inner = [element("Name", asked.bucket), element("Prefix", code(prefix)), element("MaxKeys", limit)]
    inner += [element("Delimiter", code(delimiter)), element("StartAfter", code(query.get("start-after", "")))]
    inner += [element("EncodingType", "url")] if query.get("encoding-type") == "url" else []
    inner += [element("IsTruncated", str(truncated).lower()), element("KeyCount", len(objects) + len(folders))]
    if truncated:
        inner.append(element("NextContinuationToken", base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")))
    inner += [_contents(bucket.objects[key], code) for key in objects if key in bucket.objects]
    inner += [f"<CommonPrefixes>{element('Prefix', code(folder))}</CommonPrefixes>" for folder in folders]
    return _xml("ListBucketResult", "".join(inner))


def _begin(server: OssServer, bucket: Bucket, asked: Asked) -> Reply:
    bucket.check_free(asked.key, _forbids(asked))
    upload = bucket.begin(asked.key, _kept(asked))
    code = _coder(asked.query)
    said = element("Bucket", asked.bucket) + element("Key", code(asked.key)) + element("UploadId", upload.upload_id)
    return _xml("InitiateMultipartUploadResult", said)


def _put_part(server: OssServer, bucket: Bucket, asked: Asked) -> Reply:
    upload = bucket.upload(asked.key, asked.query["uploadId"])
    number = _number(asked, "partNumber", most=10_000)
    part = bucket.receive(asked.key, asked.body, asked.headers.get("content-md5", ""))
    bucket.add_part(upload, number, part)
    return _reply(headers=_sums(part))


def _complete(server: OssServer, bucket: Bucket, asked: Asked) -> Reply:
    upload = bucket.upload(asked.key, asked.query["uploadId"])
    content = b"".join(asked.body)
    try:
        root = ElementTree.fromstring(content)
        wanted = [(int(one.findtext("PartNumber", "")), one.findtext("ETag", "")) for one in root.findall("Part")]
    except (ElementTree.ParseError, ValueError):
        raise Problem(400, "MalformedXML", "The XML you provided was not well-formed.") from None
    one = bucket.complete(upload, wanted, _forbids(asked))
    said = {"Location": f"{server.endpoint}/{asked.bucket}/{quote(asked.key)}", "Bucket": asked.bucket}
    said |= {"Key": _coder(asked.query)(asked.key), "ETag": f'"{one.etag}"'}
    reply = _xml("CompleteMultipartUploadResult", "".join(element(*pair) for pair in said.items()))
    reply.headers |= _sums(one)
    return reply


def _abort(server: OssServer, bucket: Bucket, asked: Asked) -> Reply:
    bucket.abort(bucket.upload(asked.key, asked.query["uploadId"]))
    return _reply(204)


def _list_parts(server: OssServer, bucket: Bucket, asked: Asked) -> Reply:
    upload = bucket.upload(asked.key, asked.query["uploadId"])
    after, limit = _number(asked, "part-number-marker", 0), _number(asked, "max-parts", 1000, 1000)
    numbers = sorted(number for number in upload.parts if number > after)
    shown = numbers[:limit]
    inner = [element("Bucket", asked.bucket), element("Key", _coder(asked.query)(asked.key))]
    inner += [element("UploadId", upload.upload_id), element("PartNumberMarker", after)]
    inner += [element("NextPartNumberMarker", shown[-1] if shown else 0), element("MaxParts", limit)]
    inner.append(element("IsTruncated", str(len(numbers) > limit).lower()))
    for number in shown:
        part = upload.parts[number]
        said = element("PartNumber", number) + element("LastModified", _iso(part.modified))
        said += element("ETag", f'"{part.etag}"') + element("HashCrc64ecma", part.crc64) + element("Size", part.size)
        inner.append(f"<Part>{said}</Part>")
    return _xml("ListPartsResult", "".join(inner))


def _list_uploads(server: OssServer, bucket: Bucket, asked: Asked) -> Reply:
    query, code = asked.query, _coder(asked.query)
    limit = _number(asked, "max-uploads", 1000, 1000)
    marker = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
    found = sorted((one.key, one.upload_id) for one in bucket.uploads.values())
    found = [one for one in found if one[0].startswith(query.get("prefix", ""))]
    # Without an id, the key itself has been told whole.
    found = [one for one in found if (one > marker if marker[1] else one[0] > marker[0])]
    shown = found[:limit]
    truncated = len(found) > limit
    last = shown[-1] if truncated else ("", "")
    inner = [element("Bucket", asked.bucket), element("KeyMarker", code(marker[0]))]
    inner += [element("UploadIdMarker", marker[1]), element("NextKeyMarker", code(last[0]))]
    inner += [element("NextUploadIdMarker", last[1]), element("MaxUploads", limit)]
    inner += [element("EncodingType", "url")] if query.get("encoding-type") == "url" else []
    inner.append(element("IsTruncated", str(truncated).lower()))
    for key, upload_id in shown:
        said = element("Key", code(key)) + element("UploadId", upload_id)
        inner.append(f"<Upload>{said}{element('Initiated', _iso(bucket.uploads[upload_id].begun))}</Upload>")
    return _xml("ListMultipartUploadsResult", "".join(inner))


def _info(server: OssServer, bucket: Bucket, asked: Asked) -> Reply:
    said = {
        "Name": asked.bucket,
        "CreationDate": _iso(0),
        "StorageClass": "Standard",
        "ExtranetEndpoint": f"oss-{server.region}.aliyuncs.com",
        "IntranetEndpoint": f"oss-{server.region}-internal.aliyuncs.com",
        "Location": f"oss-{server.region}",
    }
    inner = "".join(element(*pair) for pair in said.items())
    inner += f"<Owner>{element('ID', 1)}{element('DisplayName', 1)}</Owner>"
    inner += f"<AccessControlList>{element('Grant', 'private')}</AccessControlList>"
    return _xml("BucketInfo", f"<Bucket>{inner}</Bucket>")


def _location(server: OssServer, bucket: Bucket, asked: Asked) -> Reply:
    return _xml("LocationConstraint", f"oss-{server.region}")


def _worm(server: OssServer, bucket: Bucket, asked: Asked) -> Reply:
    if bucket.worm is None:
        raise Problem(404, "NoSuchWORMConfiguration", "The WORM Configuration does not exist.")
    said = {"WormId": "1", "State": bucket.worm.state, "RetentionPeriodInDays": bucket.worm.days}
    said |= {"CreationDate": _iso(0)}
    return _xml("WormConfiguration", "".join(element(*pair) for pair in said.items()))


# Method, with a key, what the query needs to have, the right, the operation: the first that fits.
_ROUTES: list[tuple[str, bool, tuple[str, ...], str, Operation]] = [
    ("PUT", True, ("partNumber", "uploadId"), "PutObject", _put_part),
    ("PUT", True, (), "PutObject", _put),
    ("POST", True, ("append",), "PutObject", _append),
    ("POST", True, ("uploads",), "PutObject", _begin),
    ("POST", True, ("uploadId",), "PutObject", _complete),
    ("GET", True, ("uploadId",), "ListParts", _list_parts),
    ("GET", True, (), "GetObject", _get),
    ("HEAD", True, (), "GetObject", _get),
    ("DELETE", True, ("uploadId",), "AbortMultipartUpload", _abort),
    ("DELETE", True, (), "DeleteObject", _delete),
    ("GET", False, ("uploads",), "ListMultipartUploads", _list_uploads),
    ("GET", False, ("bucketInfo",), "GetBucketInfo", _info),
    ("GET", False, ("location",), "GetBucketLocation", _location),
    ("GET", False, ("worm",), "GetBucketWorm", _worm),
    ("GET", False, (), "ListObjects", _list),
]


def _reply(status: int = 200, **more: Any) -> Reply:
    return Reply(status, **more)


def _xml(name: str, inner: str) -> Reply:
    return _reply(body=document(name, inner), headers={"Content-Type": "application/xml"})


def _sums(one: Stored) -> dict[str, str]:
    return {"ETag": f'"{one.etag}"', "x-oss-hash-crc64ecma": str(one.crc64)}


def _kept(asked: Asked) -> dict[str, str]:
    said = {name: asked.headers[name] for name in asked.headers if name in _KEPT or name.startswith("x-oss-meta-")}
    return {"content-type": "application/octet-stream", **said}


def _forbids(asked: Asked) -> bool:
    return asked.headers.get("x-oss-forbid-overwrite", "").lower() == "true"


def _number(asked: Asked, name: str, default: int | None = None, most: int | None = None) -> int:
    text = asked.query.get(name) or ("" if default is None else str(default))
    if not text.isdecimal() or (most is not None and not 1 <= int(text) <= most):
        more = {"ArgumentName": name, "ArgumentValue": text}
        raise Problem(400, "InvalidArgument", f"Argument {name} is invalid.", more)
    return int(text)


def _span(said: str, size: int) -> tuple[int, int]:
    """[start, end) of a Range header; what cannot be met means everything, as OSS reads it."""
    found = _RANGE.fullmatch(said)
    if not found or not (found[1] or found[2]):
        return 0, size
    if not found[1]:
        return max(0, size - int(found[2])), size
    start, end = int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)
    return (start, end) if start < end else (0, size)


def _token(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        raise Problem(400, "InvalidArgument", "The continuation token is invalid.") from None


def _folder(key: str, prefix: str, delimiter: str) -> str:
    if not delimiter:
        return ""
    at = key.find(delimiter, len(prefix))
    return key[: at + len(delimiter)] if at >= 0 else ""


def _contents(one: Stored, code: Callable[[str], str]) -> str:
    said = {"Key": code(one.key), "LastModified": _iso(one.modified), "ETag": f'"{one.etag}"', "Type": one.kind}
    said |= {"Size": str(one.size), "StorageClass": "Standard"}
    return f"<Contents>{''.join(element(*pair) for pair in said.items())}</Contents>"


def _coder(query: Any) -> Callable[[str], str]:
    return (lambda text: quote(text, safe="")) if query.get("encoding-type") == "url" else str


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
