"""Adapting and acting with ONNX Runtime; needs no torch."""
