"""What a survey makes of its cubes, and that it goes on where it was."""

import json

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable, Table

import stellarssl
from stellarssl.pipeline import estimate_mass
from stellarssl.survey import _stations
from tests_survey_helpers import begun, cut

FINISHED = ("moments.fits", "masses.ecsv", "masses.fits", "labels.fits", "done.json")
