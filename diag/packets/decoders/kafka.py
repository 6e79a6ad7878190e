"""Kafka requests and responses (kafka.apache.org, protocol): what was asked, in which version, and how long it took."""

from __future__ import annotations

from diag.packets.exchange import Asked, Lost, Message, Messages

# fmt: off
KEYS = dict(enumerate((
    "Produce", "Fetch", "ListOffsets", "Metadata", "LeaderAndIsr", "StopReplica", "UpdateMetadata",
    "ControlledShutdown", "OffsetCommit", "OffsetFetch", "FindCoordinator", "JoinGroup", "Heartbeat", "LeaveGroup",
    "SyncGroup", "DescribeGroups", "ListGroups", "SaslHandshake", "ApiVersions", "CreateTopics", "DeleteTopics",
    "DeleteRecords", "InitProducerId", "OffsetForLeaderEpoch", "AddPartitionsToTxn", "AddOffsetsToTxn", "EndTxn",
    "WriteTxnMarkers", "TxnOffsetCommit", "DescribeAcls", "CreateAcls", "DeleteAcls", "DescribeConfigs", "AlterConfigs",
    "AlterReplicaLogDirs", "DescribeLogDirs", "SaslAuthenticate", "CreatePartitions",
)))
ERRORS = {
    -1: "UNKNOWN_SERVER_ERROR", 1: "OFFSET_OUT_OF_RANGE", 3: "UNKNOWN_TOPIC_OR_PARTITION", 5: "LEADER_NOT_AVAILABLE",
    6: "NOT_LEADER_OR_FOLLOWER", 7: "REQUEST_TIMED_OUT", 14: "COORDINATOR_LOAD_IN_PROGRESS",
    15: "COORDINATOR_NOT_AVAILABLE", 16: "NOT_COORDINATOR", 22: "ILLEGAL_GENERATION", 25: "UNKNOWN_MEMBER_ID",
    27: "REBALANCE_IN_PROGRESS", 29: "TOPIC_AUTHORIZATION_FAILED", 30: "GROUP_AUTHORIZATION_FAILED",
    33: "UNSUPPORTED_SASL_MECHANISM", 35: "UNSUPPORTED_VERSION", 58: "SASL_AUTHENTICATION_FAILED",
}
# fmt: on
# Where an error for the whole request stands behind the correlation id: {key: ((first version, bytes before it), …)}.
_ERROR_AT = {
    10: ((0, 0), (1, 4), (3, 5)),
    11: ((0, 0), (2, 4), (6, 5)),
    12: ((0, 0), (1, 4), (4, 5)),
    13: ((0, 0), (1, 4), (4, 5)),
    14: ((0, 0), (1, 4), (4, 5)),
    17: ((0, 0),),
    18: ((0, 0),),
    22: ((0, 4), (2, 5)),
    36: ((0, 0), (2, 1)),
}
_NEWEST_KEY, _NEWEST_VERSION, _LARGEST = 92, 20, 1 << 28
_PRODUCE = 0


class Kafka(Messages):
    """Matched by the correlation id."""

    protocol = "kafka"

    def starts(self, from_client: bool, data: bytes) -> bool:
        """A length, and a request's fields in their ranges, or a response to something that waits."""
        if from_client:
            return looks_like(data)
        number = int.from_bytes(data[4:8], "big", signed=True)
        return len(data) >= 8 and any(asked.mark == number for asked in self.waiting)

    def read(self, from_client: bool, data: bytes, at: int, time: float, cut: bool) -> Message | None:
        """One frame."""
        if len(data) - at < 16 and not cut:
            size = int.from_bytes(data[at : at + 4], "big") if len(data) - at >= 8 else 1 << 20
            if len(data) - at < 4 + size:
                return None
        if len(data) - at < 8:
            raise Lost
        size = int.from_bytes(data[at : at + 4], "big")
        if not 4 <= size <= _LARGEST:
            raise Lost
        body = data[at + 4 : at + 4 + size]
        kept = self._request(body, time) if from_client else self._response(body, time)
        return Message(4 + size, data[at : at + 4] + kept)

    def _request(self, body: bytes, time: float) -> bytes:
        key, version = int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big")
        if key > _NEWEST_KEY or version > _NEWEST_VERSION or len(body) < 8:
            raise Lost
        client, end = _text(body, 8)
        name = KEYS.get(key, f"api {key}")
        details = (("client", client),) if client else ()
        if not (key == _PRODUCE and _no_answer(body, version, end)):
            number = int.from_bytes(body[4:8], "big", signed=True)
            self.ask(Asked(time, f"{name} v{version}", details=details, mark=number))
        return body[:end]

    def _response(self, body: bytes, time: float) -> bytes:
        number = int.from_bytes(body[:4], "big", signed=True)
        for asked in self.waiting:
            if asked.mark == number:
                self.waiting.remove(asked)
                error = _error(asked.what, body)
                self.answer(asked, time, ERRORS.get(error, f"error {error}") if error else "OK", failed=bool(error))
                break
        return body[:4]


def _text(body: bytes, at: int) -> tuple[str, int]:
    length = int.from_bytes(body[at : at + 2], "big", signed=True)
    end = at + 2 + max(0, length)
    return body[at + 2 : end][:200].decode("utf-8", "replace"), min(end, len(body))


def _no_answer(body: bytes, version: int, at: int) -> bool:
    """Whether `acks` is 0. From version 3 on the transaction's id stands before it; from 9 on it is not looked for."""
    if version >= 9:
        return False
    at = _text(body, at)[1] if version >= 3 else at
    return body[at : at + 2] == b"\0\0"


def _error(what: str, body: bytes) -> int:
    name, _, version = what.rpartition(" v")
    key = next((key for key, known in KEYS.items() if known == name), -1)
    before = [offset for first, offset in _ERROR_AT.get(key, ()) if first <= int(version)]
    at = 4 + before[-1] if before else len(body)
    return int.from_bytes(body[at : at + 2], "big", signed=True) if at + 2 <= len(body) else 0


def looks_like(data: bytes) -> bool:
    """Whether this may be a request: sizes, key, version and client id in their ranges."""
    if len(data) < 14:
        return False
    size, key, version = (int.from_bytes(data[a:b], "big") for a, b in ((0, 4), (4, 6), (6, 8)))
    length = int.from_bytes(data[12:14], "big", signed=True)
    fits = len(data) - 4 <= size <= _LARGEST or 10 <= size < len(data) - 4
    client = data[14 : 14 + max(0, length)]
    return fits and key <= _NEWEST_KEY and version <= _NEWEST_VERSION and -1 <= length <= 200 and client.isascii()
