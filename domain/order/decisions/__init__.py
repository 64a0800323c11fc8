"""May this be done to an order? One small function per action: guards first, events last.

A decision is a tuple of events or a ``Refusal``; an empty tuple means that the order is so already. Beside each
function stands its ``Action``: what it does in a sentence, an example, and every code it can be refused with.

``placing`` and ``closing`` begin and end an order's life, ``shipping`` and ``suppliers`` send its parcels,
``stockout`` and ``holds`` lock it, ``disputes`` and ``bills`` are what follows. ``table`` lists all actions and
has ``decide``, which every command passes through.
"""
