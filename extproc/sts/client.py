"""Calls of AWS STS: AssumeRoleWithWebIdentity with the user's own token.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html

The call is not signed; the token is the proof. An optional second call, AssumeRole with the credentials
of the first, leads into another account. ``query`` writes requests and reads answers, ``https`` sends them.
Only what few servers need is botocore's, and imported when it is: the signature of a second call, and
certificates where the machine has none. botocore's client would take longer to start than all else, and a
fifth of the memory. All calls block; ``exchange`` runs them in threads.
"""

import os
import random
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from extproc.clock import Clock
from extproc.errors import Denied, Reason
from extproc.sts import answer as sts_answer
from extproc.sts import errors as sts_errors
from extproc.sts import query
from extproc.sts.https import HttpAnswer, HttpError, HttpOrigin
from extproc.values import MAX_CHAINED_DURATION, MIN_DURATION, ChainedRole, Credentials, Grant

_Read = TypeVar("_Read")
_Parameters = Mapping[str, str | int | Sequence[str]]

_ATTEMPTS = 2
_OK, _REDIRECTS = 200, 300  # HTTP statuses
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
        # From this program's configuration alone: the machine's profiles, AWS_ENDPOINT_URL* and
        # AWS_USE_*_ENDPOINT do not count.
        self._url = endpoint_url or query.endpoint(region)
        self._region = region
        self._on_date = on_date
        self._timeout = timeout
        self._clock = clock
        self._pause = pause
        self._origin = HttpOrigin(
            self._url,
            max_idle=connections,
            tls=_tls(self._url, ca_file or os.environ.get("AWS_CA_BUNDLE")),
        )

    def assume(self, unverified_web_identity_token: str, grant: Grant, until: float) -> Credentials:
        """Exchange a token for the credentials of a grant, with both calls if it has a chain.

        ``until``: when to give up, in ``time.monotonic`` seconds.

        Raises:
            Denied: with a reason of STS's; the detail never quotes STS's message.
        """
        credentials = self._call(
            until,
            "AssumeRoleWithWebIdentity",
            grant.session_name,
            _duration(grant),
            {
                "RoleArn": grant.role_arn,
                "WebIdentityToken": unverified_web_identity_token,
                **_session_policy(grant.policy_arns, grant.policy),
            },
        )
        return credentials if grant.chain is None else self._chained(credentials, grant, grant.chain, until)

    @property
    def endpoint_url(self) -> str:
        """The URL of the endpoint: the configured one, or AWS's in the region."""
        return self._url

    def caller_arn(self, credentials: Credentials, until: float) -> str:
        """Return the ARN that AWS sees behind credentials, by one attempt of GetCallerIdentity.

        https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html

        Raises:
            Denied: as ``assume`` does.
        """
        return self._ask(
            min(until, time.monotonic() + self._timeout),
            "GetCallerIdentity",
            {},
            lambda answer: str(answer["Arn"]),
            signed_by=credentials,
        )

    def _chained(self, first: Credentials, grant: Grant, chain: ChainedRole, until: float) -> Credentials:
        # STS passes on the source identity and transitive tags by itself; they cannot be changed here.
        return self._call(
            until,
            "AssumeRole",
            grant.session_name,
            min(_duration(grant), MAX_CHAINED_DURATION),
            {
                "RoleArn": chain.role_arn,
                **({"ExternalId": chain.external_id} if chain.external_id else {}),
                **_session_policy(chain.policy_arns, chain.policy),
            },
            signed_by=first,
        )

    def _call(  # noqa: PLR0917 - the call, in its own order
        self,
        until: float,
        action: str,
        session_name: str,
        duration: int,
        parameters: _Parameters,
        signed_by: Credentials | None = None,
    ) -> Credentials:
        """Ask for credentials, a second time if that may help."""
        parameters = {**parameters, "RoleSessionName": session_name, "DurationSeconds": duration}

        def read(answer: dict[str, Any]) -> Credentials:
            return sts_answer.credentials(
                answer, session_name=session_name, duration=duration, now=self._clock()
            )

        for attempt in range(1, _ATTEMPTS + 1):
            attempt_until = min(until, time.monotonic() + self._timeout)
            try:
                return self._ask(attempt_until, action, parameters, read, signed_by=signed_by)
            except Denied as denied:
                pause = random.uniform(*_RETRY_PAUSES.get(denied.reason, (0.0, 0.0)))  # noqa: S311 - to spread load
                if attempt == _ATTEMPTS or not pause or time.monotonic() + pause >= until:
                    raise
                self._pause(pause)
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover - for the type checker

    def _ask(
        self,
        until: float,
        action: str,
        parameters: _Parameters,
        read: Callable[[dict[str, Any]], _Read],
        *,
        signed_by: Credentials | None,
    ) -> _Read:
        """Make one attempt; return what ``read`` makes of the result, or raise ``Denied``."""
        try:
            return read(self._result(action, self._send(query.form(action, parameters), signed_by, until)))
        except Denied:
            raise
        except HttpError as error:
            raise Denied(Reason.STS_UNAVAILABLE, str(error)) from None
        except sts_answer.UnusableAnswerError as error:
            raise Denied(Reason.STS_UNAVAILABLE, f"unusable answer: {error}") from None
        except Exception as error:  # noqa: BLE001 - such as KeyError: a part is missing
            raise Denied(Reason.STS_UNAVAILABLE, f"unusable answer ({type(error).__name__})") from None

    def _send(self, body: bytes, signed_by: Credentials | None, until: float) -> HttpAnswer:
        url = urlsplit(self._url)
        target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        headers = query.HEADERS if signed_by is None else self._signed(body, signed_by)
        return self._origin.post(target, headers, body, until=until)

    def _result(self, action: str, answer: HttpAnswer) -> dict[str, Any]:
        """Return the result of an action, or raise the denial for an error."""
        if _OK <= answer.status < _REDIRECTS:
            result = query.result(action, answer.body)
            self._on_date(_date(answer))
            return result
        code, message = query.error(answer.body)
        self._on_date(_date(answer))
        raise sts_errors.denied(answer.status, code, message)

    def _signed(self, body: bytes, credentials: Credentials) -> dict[str, str]:
        """Return the headers of a request with a signature."""
        from botocore.auth import SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.credentials import ReadOnlyCredentials  # noqa: PLC0415

        request = AWSRequest("POST", self._url, data=body, headers=query.HEADERS)
        given = (credentials.access_key_id, credentials.secret_access_key, credentials.session_token)
        SigV4Auth(ReadOnlyCredentials(*given), "sts", self._region).add_auth(request)
        return dict(request.headers.items())

    def close(self) -> None:
        """Close connections."""
        self._origin.close()


def _session_policy(policy_arns: tuple[str, ...], policy: str | None) -> dict[str, str | tuple[str, ...]]:
    parameters: dict[str, str | tuple[str, ...]] = {}
    if policy_arns:
        parameters["PolicyArns"] = policy_arns
    if policy is not None:
        parameters["Policy"] = policy
    return parameters


def _duration(grant: Grant) -> int:
    """Return the seconds to ask for: no more than what is left of the grant, and no less than STS accepts."""
    if grant.ends_at is None:
        return grant.duration
    return min(grant.duration, max(MIN_DURATION, int(grant.ends_at - time.time())))


def _tls(url: str, ca_file: str | None) -> Callable[[], ssl.SSLContext]:
    """Return what makes the context: at once from a file, which may be unreadable; else with the first call.

    Reading the authorities of the machine takes 45 ms, and 2.5 MB.
    """
    if ca_file is None or not url.startswith("https:"):
        return _tls_of_the_machine
    context = ssl.create_default_context(cafile=ca_file)
    return lambda: context


def _tls_of_the_machine() -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:  # the machine has no CA certificates
        from botocore.httpsession import get_cert_path  # noqa: PLC0415

        context.load_verify_locations(get_cert_path(verify=True))
    return context


def _date(answer: HttpAnswer) -> str | None:
    return next((value for name, value in answer.headers if name.lower() == "date"), None)
