import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BreakerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BREAKER_STATE_UNSPECIFIED: _ClassVar[BreakerState]
    BREAKER_STATE_CLOSED: _ClassVar[BreakerState]
    BREAKER_STATE_HALF_OPEN: _ClassVar[BreakerState]
    BREAKER_STATE_OPEN: _ClassVar[BreakerState]
BREAKER_STATE_UNSPECIFIED: BreakerState
BREAKER_STATE_CLOSED: BreakerState
BREAKER_STATE_HALF_OPEN: BreakerState
BREAKER_STATE_OPEN: BreakerState

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[WorkerStatus]
    def __init__(self, workers: _Optional[_Iterable[_Union[WorkerStatus, _Mapping]]] = ...) -> None: ...

class WorkerStatus(_message.Message):
    __slots__ = ("worker", "pid", "version", "started_at", "uptime", "ready", "reasons", "configuration", "sessions", "credentials", "revocations", "exchanges_waiting", "breaker", "clock_offset", "key_sets", "degraded")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    UPTIME_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    EXCHANGES_WAITING_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    CLOCK_OFFSET_FIELD_NUMBER: _ClassVar[int]
    KEY_SETS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    worker: int
    pid: int
    version: str
    started_at: _timestamp_pb2.Timestamp
    uptime: _duration_pb2.Duration
    ready: bool
    reasons: _containers.RepeatedScalarFieldContainer[str]
    configuration: Configuration
    sessions: int
    credentials: int
    revocations: int
    exchanges_waiting: int
    breaker: BreakerState
    clock_offset: _duration_pb2.Duration
    key_sets: _containers.RepeatedCompositeFieldContainer[KeySet]
    degraded: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, worker: _Optional[int] = ..., pid: _Optional[int] = ..., version: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., uptime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., ready: _Optional[bool] = ..., reasons: _Optional[_Iterable[str]] = ..., configuration: _Optional[_Union[Configuration, _Mapping]] = ..., sessions: _Optional[int] = ..., credentials: _Optional[int] = ..., revocations: _Optional[int] = ..., exchanges_waiting: _Optional[int] = ..., breaker: _Optional[_Union[BreakerState, str]] = ..., clock_offset: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., key_sets: _Optional[_Iterable[_Union[KeySet, _Mapping]]] = ..., degraded: _Optional[_Iterable[str]] = ...) -> None: ...

class Configuration(_message.Message):
    __slots__ = ("digest", "loaded_at", "problems")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    LOADED_AT_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    digest: str
    loaded_at: _timestamp_pb2.Timestamp
    problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, digest: _Optional[str] = ..., loaded_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., problems: _Optional[_Iterable[str]] = ...) -> None: ...

class KeySet(_message.Message):
    __slots__ = ("issuer", "usable", "keys", "fetched_at", "age", "failure")
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    USABLE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    FETCHED_AT_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    issuer: str
    usable: bool
    keys: int
    fetched_at: _timestamp_pb2.Timestamp
    age: _duration_pb2.Duration
    failure: str
    def __init__(self, issuer: _Optional[str] = ..., usable: _Optional[bool] = ..., keys: _Optional[int] = ..., fetched_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., failure: _Optional[str] = ...) -> None: ...

class ListSessionsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "issuer", "subject", "jti", "role_arn")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    JTI_FIELD_NUMBER: _ClassVar[int]
    ROLE_ARN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    issuer: str
    subject: str
    jti: str
    role_arn: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., issuer: _Optional[str] = ..., subject: _Optional[str] = ..., jti: _Optional[str] = ..., role_arn: _Optional[str] = ...) -> None: ...

class ListSessionsResponse(_message.Message):
    __slots__ = ("sessions", "next_page_token")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[Session]
    next_page_token: str
    def __init__(self, sessions: _Optional[_Iterable[_Union[Session, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Session(_message.Message):
    __slots__ = ("id", "worker", "issuer", "subject", "jti", "token_expires_at", "credentials")
    ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    JTI_FIELD_NUMBER: _ClassVar[int]
    TOKEN_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    id: str
    worker: int
    issuer: str
    subject: str
    jti: str
    token_expires_at: _timestamp_pb2.Timestamp
    credentials: _containers.RepeatedCompositeFieldContainer[Credentials]
    def __init__(self, id: _Optional[str] = ..., worker: _Optional[int] = ..., issuer: _Optional[str] = ..., subject: _Optional[str] = ..., jti: _Optional[str] = ..., token_expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., credentials: _Optional[_Iterable[_Union[Credentials, _Mapping]]] = ...) -> None: ...

class Credentials(_message.Message):
    __slots__ = ("mapping", "role_arn", "chained_role_arn", "session_name", "access_key_id", "obtained_at", "expires_at", "last_used_at")
    MAPPING_FIELD_NUMBER: _ClassVar[int]
    ROLE_ARN_FIELD_NUMBER: _ClassVar[int]
    CHAINED_ROLE_ARN_FIELD_NUMBER: _ClassVar[int]
    SESSION_NAME_FIELD_NUMBER: _ClassVar[int]
    ACCESS_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    OBTAINED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_USED_AT_FIELD_NUMBER: _ClassVar[int]
    mapping: str
    role_arn: str
    chained_role_arn: str
    session_name: str
    access_key_id: str
    obtained_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    last_used_at: _timestamp_pb2.Timestamp
    def __init__(self, mapping: _Optional[str] = ..., role_arn: _Optional[str] = ..., chained_role_arn: _Optional[str] = ..., session_name: _Optional[str] = ..., access_key_id: _Optional[str] = ..., obtained_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_used_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("claims", "request", "session", "unverified_token", "why_not")
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    UNVERIFIED_TOKEN_FIELD_NUMBER: _ClassVar[int]
    WHY_NOT_FIELD_NUMBER: _ClassVar[int]
    claims: _struct_pb2.Struct
    request: _struct_pb2.Struct
    session: SessionReference
    unverified_token: str
    why_not: str
    def __init__(self, claims: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., request: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., session: _Optional[_Union[SessionReference, _Mapping]] = ..., unverified_token: _Optional[str] = ..., why_not: _Optional[str] = ...) -> None: ...

class SessionReference(_message.Message):
    __slots__ = ("id", "worker")
    ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    id: str
    worker: int
    def __init__(self, id: _Optional[str] = ..., worker: _Optional[int] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("explanation",)
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    explanation: _struct_pb2.Struct
    def __init__(self, explanation: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class RevokeRequest(_message.Message):
    __slots__ = ("issuer", "subject", "jti", "role_arn", "duration", "repeats")
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    JTI_FIELD_NUMBER: _ClassVar[int]
    ROLE_ARN_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    REPEATS_FIELD_NUMBER: _ClassVar[int]
    issuer: str
    subject: str
    jti: str
    role_arn: str
    duration: _duration_pb2.Duration
    repeats: bool
    def __init__(self, issuer: _Optional[str] = ..., subject: _Optional[str] = ..., jti: _Optional[str] = ..., role_arn: _Optional[str] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., repeats: _Optional[bool] = ...) -> None: ...

class RevokeResponse(_message.Message):
    __slots__ = ("sessions", "credentials", "refused_until", "role_policy", "shared")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    ROLE_POLICY_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    sessions: int
    credentials: int
    refused_until: _timestamp_pb2.Timestamp
    role_policy: str
    shared: Shared
    def __init__(self, sessions: _Optional[int] = ..., credentials: _Optional[int] = ..., refused_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., role_policy: _Optional[str] = ..., shared: _Optional[_Union[Shared, _Mapping]] = ...) -> None: ...

class Shared(_message.Message):
    __slots__ = ("replicas", "confirmed", "problem")
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    replicas: int
    confirmed: int
    problem: str
    def __init__(self, replicas: _Optional[int] = ..., confirmed: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadResponse(_message.Message):
    __slots__ = ("problems",)
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, problems: _Optional[_Iterable[str]] = ...) -> None: ...

class GetMetricsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetMetricsResponse(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class GetSessionRequest(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: SessionReference
    def __init__(self, session: _Optional[_Union[SessionReference, _Mapping]] = ...) -> None: ...

class GetSessionResponse(_message.Message):
    __slots__ = ("session", "claims")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    session: Session
    claims: _struct_pb2.Struct
    def __init__(self, session: _Optional[_Union[Session, _Mapping]] = ..., claims: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ListDecisionsRequest(_message.Message):
    __slots__ = ("cursor", "limit")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    limit: int
    def __init__(self, cursor: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListDecisionsResponse(_message.Message):
    __slots__ = ("events", "next_cursor", "more", "missed")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    MISSED_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedScalarFieldContainer[str]
    next_cursor: str
    more: bool
    missed: bool
    def __init__(self, events: _Optional[_Iterable[str]] = ..., next_cursor: _Optional[str] = ..., more: _Optional[bool] = ..., missed: _Optional[bool] = ...) -> None: ...

class ListRevocationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRevocationsResponse(_message.Message):
    __slots__ = ("revocations",)
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    revocations: _containers.RepeatedCompositeFieldContainer[Revocation]
    def __init__(self, revocations: _Optional[_Iterable[_Union[Revocation, _Mapping]]] = ...) -> None: ...

class Revocation(_message.Message):
    __slots__ = ("issuer", "subject", "jti", "refused_until")
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    JTI_FIELD_NUMBER: _ClassVar[int]
    REFUSED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    issuer: str
    subject: str
    jti: str
    refused_until: _timestamp_pb2.Timestamp
    def __init__(self, issuer: _Optional[str] = ..., subject: _Optional[str] = ..., jti: _Optional[str] = ..., refused_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class LiftRevocationRequest(_message.Message):
    __slots__ = ("issuer", "subject", "jti")
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    JTI_FIELD_NUMBER: _ClassVar[int]
    issuer: str
    subject: str
    jti: str
    def __init__(self, issuer: _Optional[str] = ..., subject: _Optional[str] = ..., jti: _Optional[str] = ...) -> None: ...

class LiftRevocationResponse(_message.Message):
    __slots__ = ("lifted", "shared")
    LIFTED_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    lifted: bool
    shared: Shared
    def __init__(self, lifted: _Optional[bool] = ..., shared: _Optional[_Union[Shared, _Mapping]] = ...) -> None: ...

class DecisionOutcome(_message.Message):
    __slots__ = ("role", "mapping", "denied")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    MAPPING_FIELD_NUMBER: _ClassVar[int]
    DENIED_FIELD_NUMBER: _ClassVar[int]
    role: str
    mapping: str
    denied: str
    def __init__(self, role: _Optional[str] = ..., mapping: _Optional[str] = ..., denied: _Optional[str] = ...) -> None: ...

class DecisionDifference(_message.Message):
    __slots__ = ("before", "after", "kind", "gives_more", "what", "count", "last_at")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    GIVES_MORE_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_AT_FIELD_NUMBER: _ClassVar[int]
    before: DecisionOutcome
    after: DecisionOutcome
    kind: str
    gives_more: bool
    what: _containers.RepeatedScalarFieldContainer[str]
    count: int
    last_at: _timestamp_pb2.Timestamp
    def __init__(self, before: _Optional[_Union[DecisionOutcome, _Mapping]] = ..., after: _Optional[_Union[DecisionOutcome, _Mapping]] = ..., kind: _Optional[str] = ..., gives_more: _Optional[bool] = ..., what: _Optional[_Iterable[str]] = ..., count: _Optional[int] = ..., last_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetShadowRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetShadowResponse(_message.Message):
    __slots__ = ("path", "loaded_at", "problems", "decisions", "differences")
    class DecisionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    PATH_FIELD_NUMBER: _ClassVar[int]
    LOADED_AT_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    path: str
    loaded_at: _timestamp_pb2.Timestamp
    problems: _containers.RepeatedScalarFieldContainer[str]
    decisions: _containers.ScalarMap[str, int]
    differences: _containers.RepeatedCompositeFieldContainer[DecisionDifference]
    def __init__(self, path: _Optional[str] = ..., loaded_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., problems: _Optional[_Iterable[str]] = ..., decisions: _Optional[_Mapping[str, int]] = ..., differences: _Optional[_Iterable[_Union[DecisionDifference, _Mapping]]] = ...) -> None: ...

class CompareSessionsRequest(_message.Message):
    __slots__ = ("configuration",)
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    configuration: str
    def __init__(self, configuration: _Optional[str] = ...) -> None: ...

class CompareSessionsResponse(_message.Message):
    __slots__ = ("sessions", "reads_request", "differences", "open_sessions")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    READS_REQUEST_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    OPEN_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    sessions: int
    reads_request: bool
    differences: _containers.RepeatedCompositeFieldContainer[DecisionDifference]
    open_sessions: int
    def __init__(self, sessions: _Optional[int] = ..., reads_request: _Optional[bool] = ..., differences: _Optional[_Iterable[_Union[DecisionDifference, _Mapping]]] = ..., open_sessions: _Optional[int] = ...) -> None: ...
