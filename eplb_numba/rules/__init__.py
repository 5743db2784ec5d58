"""What decides an answer, written once for CPU and CUDA.

Every rule keeps the law of one answer: arithmetic in the type of the weight, sums in one written order, a total order for
every choice, no product that feeds a sum.  A rule allocates nothing, raises nothing and is handed all its scratch.

The rooms, from the ground up: ``linked`` (how rules get into kernels on a CPU), ``words`` (what a lane is), ``noise``,
``sort`` and ``bracket`` (tools), ``terms`` (the arrays that travel together), ``scratch`` (where they lie), ``ceiling`` (what
a packing must come below), ``replicate``, ``greedy``, ``partners``, ``swap``, ``relief`` and ``refine`` (the steps), ``pack``
(one packing from its starts), ``groups``, ``node``, ``placement``, ``place`` (whole layers) and ``rows`` (single stages for
the drop-ins).  For a plan that lasts: ``outlook`` (what it looks at), ``window`` (which scenarios a window stands for),
``norm`` and ``scenarios`` (how all are looked at), ``spread`` (its first packing), ``promise``, ``exchange`` and ``trade``
(its swaps) and ``outlast`` (whole nodes).
Only GPUs want ``intake`` (which loads are loads) and ``starts`` (those of a packing beside each other).
"""
