"""A cold verification beside PyJWT's bare ``decode`` of the same token: ``PYTHONPATH=tests python tests/bench/authn.py``."""

import asyncio
import time

import jwt

from support.tokens import (
    AUDIENCE,
    ISSUER,
    KID,
    FakeKeySource,
    claims,
    ec_key,
    header,
    key_set,
    key_store,
    make_verifier,
    mint,
    public_jwk,
    rsa_key,
    trusted_issuer,
)

ROUNDS, CALLS = 15, 200


async def main():
    body = claims(
        groups=[f"team-{n}" for n in range(20)], email="alice@example.com", scope="openid mcp", jti="x" * 36
    )
    for alg, key in (("RS256", rsa_key()), ("ES256", ec_key())):
        token = mint(body, header(alg=alg), key=key)
        keys = key_store(FakeKeySource(key_set(public_jwk(key, kid=KID))))
        verifier = make_verifier(trusted_issuer(keys=keys))
        public = key.public_key()
        # The tests' clock stands still in the future, so PyJWT is spared these two comparisons.
        options = {"verify_exp": False, "verify_iat": False}
        await verifier.verify(token)
        bare, ours = [], []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            for _ in range(CALLS):
                jwt.decode(token, public, algorithms=[alg], audience=AUDIENCE, issuer=ISSUER, options=options)
            bare.append((time.perf_counter() - started) / CALLS)
            started = time.perf_counter()
            for _ in range(CALLS):
                await verifier.verify(token)
            ours.append((time.perf_counter() - started) / CALLS)
        ratio = min(ours) / min(bare)
        print(f"{alg}: PyJWT {min(bare) * 1e6:.0f} us, verify {min(ours) * 1e6:.0f} us, ratio {ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
