"""Every image that a platform's charts will ask for, wherever the name hides, and whether it is carried.

`scan` finds, `judge` decides, `render` and `defaults` fetch the texts from helm, kubeadm and cephadm.
"""
