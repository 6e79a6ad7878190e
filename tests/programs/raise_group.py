"""Dies of an exception group with a note."""


def fail(error):
    try:
        raise error  # MARK: raise
    except Exception as exc:
        return exc


group = ExceptionGroup("two things", [fail(ValueError("one")), fail(KeyError("two"))])
group.add_note("seen at night")
raise group  # MARK: group
