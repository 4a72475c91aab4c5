-- Run once, when the volume is new: Prefect's own database beside that of the record.
CREATE DATABASE prefect;
