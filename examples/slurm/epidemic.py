"""Simulate an epidemic day by day: who is susceptible, infected, recovered."""

population = 1000
infected_at_start = 3
contacts = 8
infection_rate = 0.04
days_ill = 7
days = 120

susceptible, infected, recovered = population - infected_at_start, float(infected_at_start), 0.0
peak, peak_day = infected, 0
with open("days.csv", "w") as table:
    table.write("day,susceptible,infected,recovered\n")
    for day in range(1, days + 1):
        infections = susceptible * (1 - (1 - infection_rate) ** (contacts * infected / population))
        recoveries = infected / days_ill
        susceptible -= infections
        infected += infections - recoveries
        recovered += recoveries
        if infected > peak:
            peak, peak_day = infected, day
        table.write(f"{day},{susceptible:.1f},{infected:.1f},{recovered:.1f}\n")

print(f"peak: {peak:.0f} on day {peak_day}")
print(f"never ill: {susceptible / population:.1%}")
