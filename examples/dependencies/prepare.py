"""Copy the measurements that are numbers."""

kept = 0
with open("measured.csv") as source, open("clean.csv", "w") as target:
    next(source)
    for line in source:
        try:
            x, y = map(float, line.split(","))
        except ValueError:
            continue
        target.write(f"{x},{y}\n")
        kept += 1
print(f"kept: {kept}")
