"""Modules that other services register, and the migrations repository read again."""
