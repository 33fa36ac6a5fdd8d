"""What goes wrong with a vendor, as our errors.  Pure.

Each says what may have happened (``effect``): nothing, if the vendor says that it refused; perhaps something, if nobody
can tell; something for certain, once the vendor has counted tokens.

Source: documentation of the vendors (errors, retry-after); RFC 9110 section 10.2.3.
"""

from __future__ import annotations

import math

from astrid.errors import Effect, ModelError

MAX_RETRY_AFTER = 86_400.0


def vendor_fault(kind: str, message: str, effect: Effect, *, retry_after: float | None = None) -> ModelError:
    """The error for a fault that a vendor names ``kind``."""
    said = f"the vendor answered `{ascii(message)[1:-1][:300]}`"
    if kind == "rate_limit_error":
        return ModelError(
            "model.rate-limited",
            said,
            effect=effect,
            advice="wait and try again, or ask the vendor for a higher limit",
            retry_after=retry_after,
        )
    if kind == "overloaded_error":
        return ModelError("model.overloaded", said, effect=effect, advice="try again later", retry_after=retry_after)
    if kind in ("authentication_error", "permission_error", "billing_error"):
        return ModelError("model.auth", said, effect=effect, advice="check the key and the account it belongs to")
    if kind in ("invalid_request_error", "not_found_error", "request_too_large"):
        return ModelError("model.bad-request", said, effect=effect, advice="check the model's name and the limits")
    if kind == "timeout_error":
        return ModelError("model.timeout", said, effect=effect, advice="try again")
    return ModelError("model.unavailable", said, effect=effect, advice="try again later", retry_after=retry_after)


def status_fault(status: int, said: str, retry_after: str | None) -> ModelError:
    """What an answer with an error status means.  Below 500 the vendor says that it did nothing, and bills nothing."""
    wait = seconds_to_wait(retry_after)
    if status < 300:  # whatever it means, the vendor took the request, and may bill it
        return ModelError("model.bad-answer", f"the vendor answered with status {status}", effect="maybe")
    if status == 429:
        return vendor_fault("rate_limit_error", said, "none", retry_after=wait)
    if status == 529:
        return vendor_fault("overloaded_error", said, "none", retry_after=wait)
    if status in (401, 402, 403):
        return vendor_fault("authentication_error", said, "none")
    if status == 408:
        return vendor_fault("timeout_error", said, "maybe")
    if status < 400:
        return ModelError(
            "model.bad-request", f"the address redirects, with status {status}", effect="none", advice="use its target"
        )
    if status == 409:  # something else was under way there
        return vendor_fault("api_error", said, "none", retry_after=wait)
    if status < 500:
        return vendor_fault("invalid_request_error", said, "none")
    return vendor_fault("api_error", said, "maybe", retry_after=wait)


def seconds_to_wait(header: str | None) -> float | None:
    """The header ``retry-after`` in seconds, if it is a sensible number."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return min(seconds, MAX_RETRY_AFTER) if math.isfinite(seconds) and seconds >= 0 else None


def unreached(effect: Effect, cause: BaseException | None) -> ModelError:
    """No answer came."""
    return ModelError(
        "model.unavailable",
        "the vendor could not be reached",
        effect=effect,
        advice="check the network and the address",
        cause=type(cause).__name__,
    )


def timed_out(message: str, effect: Effect) -> ModelError:
    """It took too long."""
    return ModelError("model.timeout", message, effect=effect, advice="try again")


def too_long(effect: Effect) -> ModelError:
    """It would not end."""
    return ModelError("model.bad-answer", "the answer is longer than any answer can be", effect=effect)


def broken(message: str, effect: Effect) -> ModelError:
    """The answer ended before its end."""
    return ModelError("model.stream-broken", message, effect=effect, advice="try again")
