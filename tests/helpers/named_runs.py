"""What tests do with the folder and the model of a named fit."""

from __future__ import annotations

import shutil

import torch


def cut_at(run, step):
    for later in run.steps():
        if later > step:
            shutil.rmtree(run.checkpoint(later))


def weights(model):
    return torch.cat([p.detach().ravel() for p in model.module_.parameters()]).tolist()
