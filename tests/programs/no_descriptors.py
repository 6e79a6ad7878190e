"""Dies of an exception when no descriptor is left and the working directory is gone."""
import os
import tempfile

folder = tempfile.mkdtemp()
os.chdir(folder)
os.rmdir(folder)
opened = []
while True:
    opened.append(os.dup(1))  # MARK: raise
