"""What can go wrong in the viewer, beside what a store can say."""

from __future__ import annotations

from diag.errors import DiagError, UsageError


class IndexUnusable(DiagError):
    """The index cannot be opened or is no database."""

    help_text = "Name another with --index: a file that can be written, or a postgresql:// URL that answers."


class IndexDamaged(IndexUnusable):
    """The file of the index is no database any more."""


class IndexTooNew(IndexUnusable):
    """The index was made by a later version."""

    help_text = "Upgrade diag here, or give this viewer an index of its own with --index."


class IndexOfAnother(IndexUnusable):
    """The database holds the catalogue of another store."""

    help_text = (
        "Name another database or schema with --index (postgresql://…?options=-csearch_path%3Dshop), "
        "or empty this one with --reindex."
    )


class BadTokens(UsageError):
    """The tokens file cannot be used as it is."""

    help_text = "One `role token` a line; the roles are viewer, operator, admin and agent."


class AddressTaken(DiagError):
    """Nobody can listen on this address."""

    help_text = "Choose another with --port, or stop what listens there."


class BadManifest(DiagError):
    """A manifest that does not describe a capture of this store."""

    help_text = "Upload every artifact first and the manifest last, as `diag flush` does."


class TooLarge(DiagError):
    """More bytes than the viewer reads of this kind."""

    help_text = "Fetch the file itself: it is kept whole in the store."


class BadReport(DiagError):
    """An artifact that calls itself a report and is none."""

    help_text = "The file itself is kept as it came and can be fetched."


class CannotDraw(DiagError):
    """A profile that nothing can be made of here."""

    help_text = "The file itself is kept as it came: fetch it, and open it with `go tool pprof` or speedscope."


class NotFound(DiagError):
    """No such thing in the index."""

    help_text = "It may have been deleted; the overview lists what there is."


class BadRequest(DiagError):
    """What was asked for cannot be asked like that."""

    help_text = "docs/viewer.md and /api/v1/openapi.json say what can be asked."


class BadUpload(DiagError):
    """The bytes that arrived are not the bytes that were announced."""

    help_text = "Send the file again, whole, with its own size and SHA-256."


class BadAccount(BadUpload):
    """What calls itself an agent's account and is none."""

    help_text = "Agents send these by themselves; docs/captures.md says what is in one."


class LengthMissing(BadUpload):
    """An upload that does not say how long it is."""

    help_text = "Send Content-Length; chunked uploads are not taken."


class DiskFull(DiagError):
    """No room for the upload."""

    help_text = "Free some space where the store and the index stand; the sender keeps the capture and tries again."


class LoginNeeded(DiagError):
    """Nobody, or nobody known, asks."""

    help_text = "Set DIAG_TOKEN, or send `Authorization: Bearer TOKEN`, with a token of the viewer's tokens file."


class RoleTooSmall(DiagError):
    """Somebody known asks for more than the role allows."""

    help_text = "Use a token with the role that this needs; docs/viewer.md lists them."


class Forbidden(DiagError):
    """A request that did not come from one of our own pages, or not to our own address."""

    help_text = "Open the viewer at the address that `diag serve` printed."
