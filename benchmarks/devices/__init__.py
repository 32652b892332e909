"""Lanes other than this computer: phones over adb, browsers."""
