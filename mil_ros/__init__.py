"""One-shot visual imitation learning (MIL) for ROS 2 arms.

The layers, each importing only from its left:
``core <- data, learning, inference, sim <- ros, tools``.
"""

__version__ = '0.1.0'
