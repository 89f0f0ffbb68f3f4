"""Calls of AWS STS: AssumeRoleWithWebIdentity with the user's own token.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html

The call is not signed; the token is the proof. An optional second call, AssumeRole with the credentials
of the first, leads into another account. Only this module and ``botocore_data`` import botocore, which
knows the endpoints, builds the requests and parses the answers. ``https`` sends them, since botocore's own
timeouts limit single reads only. All calls block; ``exchange`` runs them in threads.
"""

import os
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import botocore.session
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.httpsession import get_cert_path

from extproc.clock import Clock
from extproc.errors import Denied, Reason
from extproc.sts import answer as sts_answer
from extproc.sts import errors as sts_errors
from extproc.sts.botocore_data import StsData
from extproc.sts.https import HttpError, HttpOrigin
from extproc.values import MAX_CHAINED_DURATION, MIN_DURATION, ChainedRole, Credentials, Grant

# In botocore's form: key in the configuration file, environment variable, default, conversion.
_NO_MACHINE_CONFIG = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
    "sts_regional_endpoints": (None, None, "regional", None),
}

_Read = TypeVar("_Read")

_ATTEMPTS = 2
_RETRY_PAUSES = {
    Reason.STS_UNAVAILABLE: (0.05, 0.15),
    Reason.STS_PROVIDER_UNREACHABLE: (0.05, 0.15),
    Reason.STS_THROTTLED: (0.5, 1.0),
}
"""Reasons for a second attempt, with the shortest and the longest pause before it in seconds."""


class StsClient:
    """Calls one STS endpoint. Thread-safe.

    Attributes:
        timeout: seconds for a whole attempt, from name resolution to the end of the answer.
        connections: number of connections kept open between exchanges.
        on_date: called with the ``Date`` of every answer, in the calling thread.
        clock: STS's time, to which the expiry of credentials is compared.
        pause: sleeps for a number of seconds between attempts.
    """

    def __init__(
        self,
        *,
        region: str,
        endpoint_url: str | None,
        timeout: float,
        connections: int,
        on_date: Callable[[str | None], None],
        clock: Clock = time.time,
        ca_file: str | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        # The session ignores the machine's profiles and credentials. Endpoints come from this program's
        # configuration alone, never from AWS_ENDPOINT_URL* or AWS_USE_*_ENDPOINT.
        self._session = botocore.session.Session(session_vars=_NO_MACHINE_CONFIG)
        self._session.register_component("data_loader", StsData())
        self._on_date = on_date
        self._timeout = timeout
        self._clock = clock
        self._pause = pause
        self._attempt = threading.local()
        self._session.register("before-send.sts", self._send)
        self._options: dict[str, Any] = {
            "region_name": region,
            "endpoint_url": endpoint_url,
        }
        self._settings: dict[str, Any] = {
            # Retries are made here: botocore would sleep for as long as an answer says.
            "retries": {"mode": "standard", "total_max_attempts": 1},
            "ignore_configured_endpoint_urls": True,
            "use_fips_endpoint": False,
            "use_dualstack_endpoint": False,
            "user_agent_appid": "extproc",
        }
        config = Config(signature_version=UNSIGNED, **self._settings)
        self._client = self._session.create_client("sts", config=config, **self._options)
        self._origin = HttpOrigin(
            self.endpoint_url,
            max_idle=connections,
            tls=_tls(self.endpoint_url, ca_file or self._session.get_config_variable("ca_bundle")),
        )

    def assume(self, unverified_web_identity_token: str, grant: Grant, until: float) -> Credentials:
        """Exchange a token for the credentials of a grant, with both calls if it has a chain.

        ``until``: when to give up, in ``time.monotonic`` seconds.

        Raises:
            Denied: with a reason of STS's; the detail never quotes STS's message.
        """
        credentials = self._call(
            until,
            self._client.assume_role_with_web_identity,
            RoleArn=grant.role_arn,
            RoleSessionName=grant.session_name,
            WebIdentityToken=unverified_web_identity_token,
            DurationSeconds=_duration(grant),
            **_session_policy(grant.policy_arns, grant.policy),
        )
        return credentials if grant.chain is None else self._chained(credentials, grant, grant.chain, until)

    @property
    def endpoint_url(self) -> str:
        """The URL of the endpoint: the configured one, or AWS's in the region."""
        return str(self._client.meta.endpoint_url)

    def caller_arn(self, credentials: Credentials, until: float) -> str:
        """Return the ARN that AWS sees behind credentials, by one attempt of GetCallerIdentity.

        https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html

        Raises:
            Denied: as ``assume`` does.
        """
        client = self._client_with(credentials)
        self._attempt.until = min(until, time.monotonic() + self._timeout)
        try:
            return self._answer(client.get_caller_identity, {}, lambda answer: str(answer["Arn"]))
        finally:
            client.close()

    def _client_with(self, credentials: Credentials) -> Any:
        return self._session.create_client(
            "sts",
            aws_access_key_id=credentials.access_key_id,
            aws_secret_access_key=credentials.secret_access_key,
            aws_session_token=credentials.session_token,
            config=Config(**self._settings),
            **self._options,
        )

    def _chained(self, first: Credentials, grant: Grant, chain: ChainedRole, until: float) -> Credentials:
        # STS passes on the source identity and transitive tags by itself; they cannot be changed here.
        client = self._client_with(first)
        try:
            return self._call(
                until,
                client.assume_role,
                RoleArn=chain.role_arn,
                RoleSessionName=grant.session_name,
                DurationSeconds=min(_duration(grant), MAX_CHAINED_DURATION),
                **({"ExternalId": chain.external_id} if chain.external_id else {}),
                **_session_policy(chain.policy_arns, chain.policy),
            )
        finally:
            client.close()

    def _call(self, until: float, operation: Callable[..., dict[str, Any]], **parameters: Any) -> Credentials:
        for attempt in range(1, _ATTEMPTS + 1):
            self._attempt.until = min(until, time.monotonic() + self._timeout)
            try:
                return self._ask(operation, parameters)
            except Denied as denied:
                pause = random.uniform(*_RETRY_PAUSES.get(denied.reason, (0.0, 0.0)))  # noqa: S311 - to spread load
                if attempt == _ATTEMPTS or not pause or time.monotonic() + pause >= until:
                    raise
                self._pause(pause)
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover - for the type checker

    def _ask(self, operation: Callable[..., dict[str, Any]], parameters: dict[str, Any]) -> Credentials:
        return self._answer(
            operation,
            parameters,
            lambda answer: sts_answer.credentials(
                answer,
                session_name=parameters["RoleSessionName"],
                duration=parameters["DurationSeconds"],
                now=self._clock(),
            ),
        )

    def _answer(
        self,
        operation: Callable[..., dict[str, Any]],
        parameters: dict[str, Any],
        read: Callable[[dict[str, Any]], _Read],
    ) -> _Read:
        try:
            answer = operation(**parameters)
            self._on_date(_date(answer))
            return read(answer)
        except ClientError as error:
            self._on_date(_date(error.response))
            raise sts_errors.denied(error.response) from None
        except HttpError as error:
            raise Denied(Reason.STS_UNAVAILABLE, str(error)) from None
        except sts_answer.UnusableAnswerError as error:
            raise Denied(Reason.STS_UNAVAILABLE, f"unusable answer: {error}") from None
        except Exception as error:  # noqa: BLE001 - KeyError for HTML, ResponseParserError for empty errors
            raise Denied(Reason.STS_UNAVAILABLE, f"unusable answer ({type(error).__name__})") from None

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        """Send a request that botocore prepared. A handler of "before-send" may return the response."""
        url = urlsplit(request.url)
        target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        body = request.body or b""
        answer = self._origin.post(
            target,
            {name: _to_string(value) for name, value in request.headers.items()},
            body.encode() if isinstance(body, str) else body,
            until=self._attempt.until,
        )
        sts_answer.check_document(answer.body)
        return AWSResponse(request.url, answer.status, answer.headers, _Raw(answer.body))

    def close(self) -> None:
        """Close connections."""
        self._client.close()
        self._origin.close()


def _session_policy(policy_arns: tuple[str, ...], policy: str | None) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    if policy_arns:
        parameters["PolicyArns"] = [{"arn": arn} for arn in policy_arns]
    if policy is not None:
        parameters["Policy"] = policy
    return parameters


def _duration(grant: Grant) -> int:
    """Return the seconds to ask for: no more than what is left of the grant, and no less than STS accepts."""
    if grant.ends_at is None:
        return grant.duration
    return min(grant.duration, max(MIN_DURATION, int(grant.ends_at - time.time())))


def _tls(url: str, ca_file: str | None) -> ssl.SSLContext:
    if not url.startswith("https:"):  # of use to nobody; reading the authorities takes 30 ms
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context(cafile=ca_file)
    if ca_file is None and not context.get_ca_certs():  # the machine has no CA certificates
        context.load_verify_locations(get_cert_path(verify=True))
    return context


class _Raw:
    """A body with the interface that botocore reads."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body


def _to_string(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _date(answer: dict[str, Any]) -> str | None:
    headers: dict[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers.get("date")
