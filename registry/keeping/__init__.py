"""Copies of a whole store for the day it is lost, and their way back."""
