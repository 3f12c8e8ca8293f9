SPDXVersion: SPDX-2.3
DataLicense: CC0-1.0
